"""What a recipe may say: its sections, keys, types and bounds. Needs no torch; `load.py` reads one from its file.

`trainer` blocks are passed to TRL as they are, so every field of `trl.SFTConfig` and `trl.GRPOConfig` may be set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
    model_serializer,
    model_validator,
)

from eval.settings import EvalSettings
from reasoner.models import TINY
from reasoner.profiles import PROFILES, Profile, ProfileName
from reasoner.schema import Task
from reasoner.serving.settings import ServerSettings
from reasoner.settings import Count, CountOrZero, Float, Int, Options, Section, Url, distinct
from reasoner.training.weights import TokenWeights
from recipes.collapse import Stop
from recipes.held_out import HeldOut

#: Pixels of an image, up to 16k x 16k.
Pixels = Annotated[Int, Field(ge=1, le=2**28)]
#: Tasks to train on.
Tasks = Annotated[list[Task], Field(min_length=1)]
#: How often an epoch shows the rows of tasks.
Mix = dict[Task, Annotated[Float, Field(ge=0, le=1000)]]
#: A stage of a dialogue.
Stage = Annotated[Int, Field(ge=1, le=8)]
#: Tasks that are made from a report; whole reports are only read from sets that hold them.
MinedTask = Literal[
    "abnormality_list", "binary", "single", "multiple", "anomaly", "temporal", "detection", "grounding", "stage"
]
#: Those that have classes and answers to count.
CountedTask = Literal["binary", "single", "multiple", "anomaly", "temporal"]
StageName = Literal["mine", "sft", "grpo", "eval", "export"]
#: A name of a run that is also the name of a folder.
Name = Annotated[str, StringConstraints(pattern=r"^[\w ][\w .+-]*$", max_length=100)]


class Growing(Section):
    """A section whose later options are left out while they are off, so that what was made before they existed stays
    current."""

    later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _without_unused(self, dump: Callable[[Growing], dict[str, Any]]) -> dict[str, Any]:
        off = {name for name in self.later if getattr(self, name) == type(self).model_fields[name].default}
        return {name: value for name, value in dump(self).items() if name not in off}


class Data(Growing):
    """Where the reports come from and what is made of them (`mine`)."""

    later = ("balance", "choices", "counts", "compare", "steps", "llm", "llm_model", "llm_calls")

    source: str = "phantom"
    """Name of the source: phantom, iu_xray, mimic_cxr, chexpert_plus, ... (docs/data.md)."""
    input: str | None = None
    """File or folder that the source reads; none for sources that draw their own data."""
    options: Options = {}
    """Options of the source."""
    tasks: Annotated[dict[MinedTask, Annotated[Float, Field(ge=0, le=1000)]], Field(min_length=1)] = {
        "abnormality_list": 1.0
    }
    """Task -> expected number of examples per study; 0.25 takes a deterministic quarter of the studies."""
    style: Literal["concise", "systematic", "question", "brief"] = "concise"
    """How chains are written: short, NV-Reason's systematic read, ChestX-Reasoner's plan-examine-conclude, or that in
    short."""
    balance: Float | None = Field(None, ge=1)
    """Keep no answer more than so many times as often as the median of its group; none keeps all."""
    choices: Literal["near", "level"] = "near"
    """What is offered beside the right option: classes that are easily taken for it, or the same options whichever is
    right, so that the words alone tell nothing; then `multiple` is one letter among four sets, and a list."""
    counts: dict[CountedTask, Count] = {}
    """Task -> keep at most so many of each class and answer, in each split; needs `choices: level`."""
    compare: Literal["words", "reports"] = "words"
    """Change as the report's own words tell it, or as two reports do: the study's and its prior's."""
    steps: Annotated[list[Literal["differential", "recommendation"]], AfterValidator(distinct)] = []
    """What closes a `systematic` read, where the report gives it."""
    llm: Url | None = None
    """Address of an OpenAI-compatible server that rewrites the chains (`vllm serve`); none leaves them rule-made."""
    llm_model: str | None = None
    """Name of the model there."""
    llm_calls: Literal["reword", "three"] = "reword"
    """What it is asked for: other words for each chain, or a plan, then the evidence, then other words."""


#: The modules of `Lora` where a recipe names none: an expression that spares the vision tower, which shares the names.
TEXT_LAYERS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


class Lora(Section):
    """Low-rank adapters (PEFT) instead of full fine-tuning."""

    r: Int = Field(16, ge=1, le=2**16)
    """Rank."""
    alpha: Int = Field(32, ge=1, le=2**20)
    """Scale: updates are multiplied by alpha / r."""
    dropout: Float = Field(0.0, ge=0, lt=1)
    """Dropout on the adapters' input."""
    target_modules: list[str] | None = None
    """Module names; none means the language model's linear layers."""


class Model(Growing):
    """The policy, how it is asked and its image budget, the same in every stage."""

    later = ("profile", "shrink")

    profile: ProfileName = "ours"
    """How the model is asked and its answer read (docs/training.md). Gives the image budget and the token limits that
    the recipe leaves out."""
    base: str = TINY
    """`tiny` builds a small Qwen2.5-VL on the spot; else a Hub id or the folder of a Qwen-VL checkpoint."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of weights and rollouts; auto is bfloat16 where the device computes in it, else float32."""
    attn_implementation: str = "sdpa"
    """Attention kernel of transformers: sdpa, eager, flash_attention_2, ..."""
    freeze_vision: bool = False
    """Whether the vision tower stays as it is."""
    lora: Lora | None = None
    """Adapters; none trains all weights."""
    min_pixels: Pixels | None = None
    """Smallest image after resizing, in pixels; none keeps the processor's own."""
    max_pixels: Pixels | None = None
    """Largest image after resizing, in pixels; bounds the image tokens (one per 28 x 28)."""
    shrink: bool = False
    """Keep larger pictures at `max_pixels` in `output/pictures`, decoded once for all epochs and processes of SFT and
    GRPO (docs/training.md)."""
    max_length: Int = Field(1024, ge=32, le=2**20)
    """Longest row in tokens, images included; longer ones are left out and counted, never cut."""
    options: Options = {}
    """Sizes of the `tiny` model (arguments of `reasoner.models.tiny.build`)."""

    @model_validator(mode="after")
    def _shrink_to_something(self) -> Model:
        if self.shrink and self.max_pixels is None:
            raise ValueError("shrink needs max_pixels: the size that pictures are kept at")
        return self

    @property
    def prompts(self) -> Profile:
        """The profile with this image budget."""
        return PROFILES[self.profile].within(self.min_pixels, self.max_pixels)


class Augmentation(Section):
    """Random changes to a stage's training images, so that the policy does not cling to one film."""

    film: Float = Field(0.0, ge=0, le=1)
    """Contrast and gamma by a factor of up to e^film, brightness and noise with them; 0 is off."""
    geometry: Float = Field(0.0, ge=0, lt=0.5)
    """Shift and scaling by up to this share of the size, rotation by up to 30 degrees times it; 0 is off."""


class Sft(Growing):
    """Supervised warm-up (`sft`)."""

    later = ("answer_only", "mix", "held_out")

    tasks: Tasks | None = None
    """Tasks to train on; none takes all that were mined."""
    mix: Mix = {}
    """Task -> how often an epoch shows each of its rows: 2 is twice, 0.25 a quarter of them, the same each time; others
    once."""
    max_examples: Count | None = None
    """Use at most so many examples."""
    answer_only: Float = Field(0.0, ge=0, le=1)
    """Share of the rows that are asked and answered without reasoning, as in ChestX-Reasoner's mixture (arXiv
    2504.20930); needs a profile that tells such rows apart."""
    augment: Augmentation = Augmentation()
    """Random changes to training images."""
    token_weights: TokenWeights = TokenWeights()
    """Weights of words in the loss."""
    vision_warmup: Options | None = None
    """Train the vision tower alone first, to find what reports find: any field of transformers.TrainingArguments; none
    is off. For towers that start from nothing, or have not seen radiographs."""
    held_out: HeldOut | None = None
    """Scores on held-out studies while training goes on; none takes the last weights."""
    trainer: Options = {}
    """Any field of trl.SFTConfig."""


class Edits(Section):
    """Completions corrected after the rollout, as off-policy samples (EditGRPO, arXiv 2509.22812; docs/training.md)."""

    rate: Float = Field(0.0, ge=0, le=1)
    """Share of the groups in which one completion is corrected from the reference, where that pays; 0 is off. Needs
    `skill` or `process` among the rewards."""
    replaces: Literal["worst", "own"] = "worst"
    """What it takes the place of: the worst completion of its group, or the one that it was corrected from."""


class Prompts(Section):
    """Which prompts GRPO draws (docs/training.md); with all of it off, each once an epoch in random order."""

    balance: Float = Field(0.0, ge=0, le=1)
    """How far the answers of a task are drawn equally often: 0 as often as they are, 1 all alike."""
    informative: Float = Field(0.0, ge=0, le=0.95)
    """How far a prompt is drawn by the spread that its rewards had of late: 0 not at all; at 0.8 one that teaches
    nothing any more keeps 0.2 of its chance."""
    curriculum: Annotated[list[Literal["task", "length", "stage"]], AfterValidator(distinct)] = []
    """What makes a prompt easy: its task (yes and no, then one choice, several, lists), the length of its chain, its
    stage in a dialogue (the last first), or the one and within it the other; none draws from all."""
    curriculum_steps: Count = 100
    """Optimizer steps after which the curriculum draws from all prompts."""
    refill: CountOrZero = 0
    """Extra rounds of rollouts a batch, at most, that put other prompts in the place of groups without spread (DAPO's
    dynamic sampling, arXiv 2503.14476); 0 is off."""

    @property
    def drawn(self) -> bool:
        """Whether prompts are drawn by our sampler rather than TRL's."""
        return bool(self.balance or self.informative or self.curriculum)


class Grpo(Growing):
    """Reinforcement learning from verifiable rewards (`grpo`)."""

    later = ("claim_weight", "edits", "prompts", "stages", "context", "mix", "held_out", "stop", "server")

    tasks: Tasks | None = None
    """Tasks to train on; none takes all that were mined."""
    mix: Mix = {}
    """Task -> how often an epoch shows each of its prompts, as in SFT."""
    stages: Annotated[list[Stage], Field(min_length=1)] | None = None
    """Of dialogues, the stages to train on, `[8]` say; none takes all."""
    context: Literal["reference", "own"] = "reference"
    """What a stage is asked after: the reference answers of the turns before it, or the policy's own, sampled just
    before the batch."""
    rewards: Annotated[dict[str, Float], Field(min_length=1)] = {"answer": 1.0, "skill": 1.0, "format": 0.2}
    """Reward -> weight in the total."""
    reward_files: list[str] = []
    """Python files with rewards of your own, relative to the working directory."""
    step_credit: Float = Field(0.0, ge=0)
    """Weight of each step's own normalised process reward on the step's tokens, beside the outcome's advantage; 0 is
    off. Needs `skill` or `process` among the rewards; weight it 0 there to leave the process to the steps alone."""
    claim_weight: Float = Field(1.0, ge=1, le=1000)
    """How much more the words of findings and the answer weigh in the policy gradient than the words around them
    (DiTPO, arXiv 2603.04022); the mean weight of a completion stays 1. 1 is off."""
    edits: Edits = Edits()
    """Completions corrected from the reference."""
    prompts: Prompts = Prompts()
    """Which prompts are drawn."""
    reward_workers: Int = Field(2, ge=1, le=10_000)
    """Ray actors that score completions."""
    reward_timeout_s: Float = Field(10.0, gt=0, le=86400)
    """Time limit for one completion, in seconds; a row beyond it has no reward."""
    reward_batch_timeout_s: Float = Field(600.0, gt=0, le=86400)
    """Time limit for all completions of a step, in seconds; rows not scored by then have no reward."""
    reward_placement: Literal["SPREAD", "DEFAULT"] = "SPREAD"
    """Ray's scheduling strategy for the workers: over all nodes, or packed."""
    reward_options: Options = {}
    """Reward -> its options."""
    server: ServerSettings = ServerSettings()
    """Servers that sample the rollouts."""
    max_examples: Count | None = None
    """Use at most so many prompts."""
    log_rollouts_every: CountOrZero = 10
    """Write rollouts with their evidence every so many steps; 0 is never."""
    augment: Augmentation = Augmentation()
    """Random changes to training images."""
    held_out: HeldOut | None = None
    """Scores on held-out studies while training goes on; none takes the last weights."""
    stop: Stop | None = None
    """When the run ends by itself because it has collapsed; `{}` takes lenient thresholds, none never ends it."""
    trainer: Options = {}
    """Any field of trl.GRPOConfig."""


class Export(Section):
    """The checkpoint that is published (`export`)."""

    source: str = "grpo"
    """Stage to export (sft or grpo), or a checkpoint folder."""


class Recipe(Section):
    """One experiment: its data, model, training, evaluation and export."""

    name: Name
    """Name of the run; outputs go to outputs/NAME unless `output` says otherwise."""
    description: str = ""
    """One line for people."""
    seed: Int = Field(0, ge=0, lt=2**32)
    """Seeds everything random."""
    output: Path
    """Folder for all that the stages write."""
    min_free_gb: Float = Field(2.0, ge=0)
    """A stage starts only with so much free disk space, in GiB."""
    minutes: dict[StageName, Annotated[Float, Field(ge=0)]] = {}
    """About how long each stage takes on the machine it is meant for; told when it starts."""
    data: Data = Data()
    """Reports in, examples out."""
    model: Model = Model()
    """The policy."""
    sft: Sft = Sft()
    """Supervised warm-up."""
    grpo: Grpo = Grpo()
    """Reinforcement learning."""
    eval: EvalSettings = EvalSettings()
    """Evaluation."""
    export: Export = Export()
    """Export."""

    @model_validator(mode="after")
    def _boxes_stay(self) -> Recipe:
        for name, stage in (("sft", self.sft), ("grpo", self.grpo)):
            placed = [task for task in stage.tasks or self.data.tasks if task in ("detection", "grounding")]
            if placed and stage.augment.geometry:
                raise ValueError(
                    f"{name}.augment.geometry moves pictures but not the boxes of task '{placed[0]}'; set it to 0"
                )
        return self

    @model_validator(mode="after")
    def _mixes_what_is_trained_on(self) -> Recipe:
        for name, stage in (("sft", self.sft), ("grpo", self.grpo)):
            tasks = stage.tasks or list(self.data.tasks)
            for task in stage.mix:
                if task not in tasks:
                    raise ValueError(f"{name}.mix: '{task}' is not trained on, which are {', '.join(tasks)}")
            if not any(stage.mix.get(task, 1) for task in tasks):
                raise ValueError(f"{name}.mix: leaves no task to train on")
        return self

    @model_validator(mode="before")
    @classmethod
    def _fill_from_profile(cls, content: Any) -> Any:
        """Writes the limits of the profile where the recipe gives none, so that they are settings like others."""
        name = _at(content, "model").get("profile")
        if not isinstance(name, str) or name not in PROFILES:
            return content
        profile = PROFILES[name]
        for path, limit in (
            ("model.min_pixels", profile.min_pixels),
            ("model.max_pixels", profile.max_pixels),
            ("grpo.trainer.max_completion_length", profile.max_new_tokens),
            ("eval.max_new_tokens", profile.max_new_tokens),
        ):
            if limit is not None:
                content = _with_default(content, path.split("."), limit)
        return content


def _at(content: Any, name: str) -> Mapping[str, Any]:
    found = content.get(name) if isinstance(content, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _with_default(content: Any, path: Sequence[str], value: Any) -> Any:
    """A copy of the nested mappings in which `path` holds the value, unless something stands there or on the way."""
    if not path:
        return value if content is None else content
    if content is None:
        content = {}
    if not isinstance(content, Mapping):
        return content
    return {**content, path[0]: _with_default(content.get(path[0]), path[1:], value)}
