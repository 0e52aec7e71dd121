"""What a recipe may say: one YAML file, checked before anything heavy is imported.

    recipe = load_recipe("phantom", ["sft.trainer.learning_rate=1e-4", "output=outputs/trial"])

`trainer` blocks are passed to TRL as they are, so every field of `trl.SFTConfig` and `trl.GRPOConfig` may be set.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer

from reasoner.errors import UserError, nearest
from reasoner.models import TINY

RECIPES = Path(__file__).parent


class Section(BaseModel):
    """A frozen mapping that refuses unknown keys; the strings below the fields are their descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Data(Section):
    """Where the reports come from and what is made of them (`mine`)."""

    source: str = "phantom"
    """Name of the source: phantom, iu_xray, mimic_cxr, chexpert_plus, ... (docs/data.md)."""
    input: str | None = None
    """File or folder that the source reads; none for sources that draw their own data."""
    options: dict[str, Any] = {}
    """Options of the source."""
    tasks: dict[str, float] = {"abnormality_list": 1.0}
    """Task -> expected number of examples per study; 0.25 takes a deterministic quarter of the studies."""
    style: Literal["concise", "systematic", "question"] = "concise"
    """How chains are written: short, NV-Reason's systematic read, or ChestX-Reasoner's plan-examine-conclude."""
    balance: float | None = Field(None, ge=1)
    """Keep no answer more than so many times as often as the median of its group; none keeps all."""
    llm: str | None = None
    """Address of an OpenAI-compatible server that rewrites the chains (`vllm serve`); none leaves them rule-made."""
    llm_model: str | None = None
    """Name of the model there."""

    @model_serializer(mode="wrap")
    def _without_unused(self, dump: Callable[[Data], dict[str, Any]]) -> dict[str, Any]:
        """Options that are off are left out, so that what was made before they existed stays current."""
        off = {name for name in ("balance", "llm", "llm_model") if getattr(self, name) is None}
        return {name: value for name, value in dump(self).items() if name not in off}


class Lora(Section):
    """Low-rank adapters (PEFT) instead of full fine-tuning."""

    r: int = Field(16, ge=1)
    """Rank."""
    alpha: int = Field(32, ge=1)
    """Scale: updates are multiplied by alpha / r."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the adapters' input."""
    target_modules: list[str] | None = None
    """Module names; none means the language model's linear layers."""


class Model(Section):
    """The policy and its image budget, the same in every stage."""

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
    min_pixels: int | None = Field(None, ge=1)
    """Smallest image after resizing, in pixels; none keeps the processor's own."""
    max_pixels: int | None = Field(None, ge=1)
    """Largest image after resizing, in pixels; bounds the image tokens (one per 28 x 28)."""
    max_length: int = Field(1024, ge=32)
    """Longest row in tokens, images included; longer ones are left out and counted, never cut."""
    options: dict[str, Any] = {}
    """Sizes of the `tiny` model (arguments of `reasoner.models.tiny.build`)."""


class Augmentation(Section):
    """Random changes to a stage's training images, so that the policy does not cling to one film."""

    film: float = Field(0.0, ge=0, le=1)
    """Contrast and gamma by a factor of up to e^film, brightness and noise with them; 0 is off."""
    geometry: float = Field(0.0, ge=0, lt=0.5)
    """Shift and scaling by up to this share of the size, rotation by up to 30 degrees times it; 0 is off."""


class Sft(Section):
    """Supervised warm-up (`sft`)."""

    tasks: list[str] | None = None
    """Tasks to train on; none takes all that were mined."""
    max_examples: int | None = Field(None, ge=1)
    """Use at most so many examples."""
    augment: Augmentation = Augmentation()
    """Random changes to training images."""
    trainer: dict[str, Any] = {}
    """Any field of trl.SFTConfig."""


class Grpo(Section):
    """Reinforcement learning from verifiable rewards (`grpo`)."""

    tasks: list[str] | None = None
    """Tasks to train on; none takes all that were mined."""
    rewards: dict[str, float] = {"answer": 1.0, "process": 0.5, "format": 0.2}
    """Reward -> weight in the total."""
    reward_files: list[str] = []
    """Python files with rewards of your own, relative to the working directory."""
    step_credit: float = Field(0.0, ge=0)
    """Weight of each step's own normalised process reward on the step's tokens, beside the outcome's advantage; 0 is
    off. Needs `process` among the rewards; weight it 0 there to leave the process to the steps alone."""
    reward_workers: int = Field(2, ge=1)
    """Ray actors that score completions."""
    reward_timeout_s: float = Field(10.0, gt=0)
    """Time limit for one completion, in seconds; a row beyond it has no reward."""
    reward_batch_timeout_s: float = Field(600.0, gt=0)
    """Time limit for all completions of a step, in seconds; rows not scored by then have no reward."""
    reward_placement: Literal["SPREAD", "DEFAULT"] = "SPREAD"
    """Ray's scheduling strategy for the workers: over all nodes, or packed."""
    reward_options: dict[str, Any] = {}
    """Reward -> its options."""
    max_examples: int | None = Field(None, ge=1)
    """Use at most so many prompts."""
    log_rollouts_every: int = Field(10, ge=0)
    """Write rollouts with their evidence every so many steps; 0 is never."""
    augment: Augmentation = Augmentation()
    """Random changes to training images."""
    trainer: dict[str, Any] = {}
    """Any field of trl.GRPOConfig."""


class Eval(Section):
    """Evaluation of base, SFT and GRPO on the same rows (`eval`)."""

    models: list[Literal["base", "sft", "grpo"]] | None = None
    """Models to compare; none takes those there are."""
    splits: list[str] = ["test"]
    """Splits to evaluate; site_b is the out-of-distribution one."""
    tasks: list[str] | None = None
    """Tasks to evaluate; none takes all."""
    max_new_tokens: int = Field(256, ge=1)
    """Longest completion."""
    samples: int = Field(4, ge=0)
    """Sampled completions per prompt, beside the greedy one."""
    base_samples: int = Field(0, ge=0)
    """The same for the untrained base model."""
    temperature: float = Field(1.0, gt=0)
    """Temperature of the sampled completions."""
    bootstrap: int = Field(2000, ge=1)
    """Resamples behind each 95% interval."""
    limit: int | None = Field(None, ge=1)
    """Use at most so many examples per split."""


class Export(Section):
    """The checkpoint that is published (`export`)."""

    source: str = "grpo"
    """Stage to export (sft or grpo), or a checkpoint folder."""


class Recipe(Section):
    """One experiment: its data, model, training, evaluation and export."""

    name: str
    """Name of the run; outputs go to outputs/NAME unless `output` says otherwise."""
    description: str = ""
    """One line for people."""
    seed: int = 0
    """Seeds everything random."""
    output: Path
    """Folder for all that the stages write."""
    min_free_gb: float = Field(2.0, ge=0)
    """A stage starts only with so much free disk space, in GiB."""
    minutes: dict[str, float] = {}
    """About how long each stage takes on the machine it is meant for; told when it starts."""
    data: Data = Data()
    """Reports in, examples out."""
    model: Model = Model()
    """The policy."""
    sft: Sft = Sft()
    """Supervised warm-up."""
    grpo: Grpo = Grpo()
    """Reinforcement learning."""
    eval: Eval = Eval()
    """Evaluation."""
    export: Export = Export()
    """Export."""


class _Loader(yaml.SafeLoader):
    """YAML 1.1 with the numbers people write: `1e-4` is a float here too, not a string."""


_Loader.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text. Raises `UserError` naming `where` when it is not YAML."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{where}: not valid YAML ({' '.join(str(error).split())})") from error


def known_recipes() -> list[str]:
    """Names of the recipes that come with the project."""
    return sorted(path.parent.name for path in RECIPES.glob("*/recipe.yaml"))


def recipe_path(name_or_path: str) -> Path:
    """The YAML file of a recipe folder under `recipes/`, or the given file itself.

    Raises:
        UserError: neither a known name nor a file.
    """
    if name_or_path in known_recipes():
        return RECIPES / name_or_path / "recipe.yaml"
    path = Path(name_or_path)
    if path.is_dir() and (path / "recipe.yaml").is_file():
        return path / "recipe.yaml"
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        if path.is_file():
            return path
        raise UserError(f"{path}: no such recipe file")
    raise UserError(f"unknown recipe '{name_or_path}'; {nearest(name_or_path, known_recipes())}")


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a folder under `recipes/` or of a YAML file, with `section.key=value` overrides applied.

    Raises:
        UserError: unknown recipe or key (with the nearest known one), a value of the wrong kind, or broken YAML.
    """
    path = recipe_path(name_or_path)
    content = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(content, dict):
        raise UserError(f"{path}: a recipe is a mapping of sections (name, data, model, sft, grpo, eval, export)")
    content.setdefault("name", path.parent.name if path.name == "recipe.yaml" else path.stem)
    for override in overrides:
        _set(content, override)
    if content.get("output") is None:
        content["output"] = f"outputs/{content['name']}"
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {_explain(error)}") from error


def _set(content: dict[str, Any], override: str) -> None:
    """Applies `a.b.c=value`; mappings on the way are made when missing."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override}: write it as section.key=value")
    *path, last = key.split(".")
    place = content
    for part in path:
        if place.get(part) is None:
            place[part] = {}
        place = place[part]
        if not isinstance(place, dict):
            raise UserError(f"--set {override}: '{part}' holds a value, not a section")
    place[last] = parse_yaml(text, f"--set {override}")


def _explain(error: ValidationError) -> str:
    """The first problem in one line; for an unknown key, the nearest known one of its section."""
    problem = error.errors()[0]
    *path, key = [str(part) for part in problem["loc"]]
    where = ".".join([*path, key])
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{where}'; {nearest(key, _section(path).model_fields)}"
    return f"{where}: {problem['msg'][:1].lower()}{problem['msg'][1:]} (got {problem['input']!r})"


def _section(path: Sequence[str]) -> type[BaseModel]:
    section: Any = Recipe
    for part in path:
        kind = section.model_fields[part].annotation
        # `Lora | None` is the one optional section.
        section = next(k for k in (*get_args(kind), kind) if isinstance(k, type) and issubclass(k, Section))
    return section


def check_trainer_args(cls: type, mapping: Mapping[str, Any], where: str) -> None:
    """Raises `UserError` for a key of a `trainer` block that the data class `cls` (a TRL config) does not have."""
    known = [field.name for field in fields(cls) if field.init]
    all_fields = f"see the fields of {cls.__module__}.{cls.__name__}"
    for key in mapping:
        if key not in known:
            raise UserError(f"{where}: unknown key '{key}'; {nearest(key, known, all_fields)}")


def trainer_flags(flags: Sequence[str], stage: str) -> list[str]:
    """Hugging Face style flags (`--learning_rate 1e-4`, `--max_steps=5`, `--bf16`) as overrides of `stage`.trainer.

    Raises:
        UserError: for a word that belongs to no flag.
    """
    overrides: list[str] = []
    expects_value = False
    for word in flags:
        if word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            overrides.append(f"{stage}.trainer.{key.replace('-', '_')}={value if equals else 'true'}")
            expects_value = not equals
        elif expects_value:
            overrides[-1] = overrides[-1].removesuffix("true") + word
            expects_value = False
        else:
            raise UserError(f"unexpected argument '{word}'; trainer arguments are written --name value")
    return overrides
