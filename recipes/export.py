"""The export stage: one folder that plain `transformers` and vLLM load, its model card, and the proof that it is right.

Writes a folder of safetensors (adapters merged), processor, tokenizer, chat template, generation config,
`README.md` (the card) and `export_check.json` (the proof: logits against the source, one answer in each library, and
its log-probabilities in both).
"""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from reasoner.errors import UserError
from reasoner.layout import ADAPTER_CONFIG, CONFIG, EXPORT_CHECK
from reasoner.models.load import load_processor
from reasoner.profiles import OURS, Profile
from reasoner.prompts import conversation
from reasoner.runtime.disk import read_object
from recipes import stages
from recipes.config import Recipe
from recipes.model_card import model_card, read_facts

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from transformers import PreTrainedModel, ProcessorMixin

#: Largest difference of any logit between the source and the reloaded export.
LOGIT_TOLERANCE = 1e-5
#: Merging rounds `W + BA` once to the weights' own precision, so an adapter's logits move by about its epsilon times
#: the logits' size, through every layer. Full checkpoints are copied, never rounded.
MERGE_EPSILONS = 16
#: Largest mean difference between the two libraries' log-probabilities of one answer: 1e-5 is usual in float32, 1e-2 in
#: bfloat16. The texts may part where two words are equally likely.
LOGP_TOLERANCE = 0.1
_PROBE_QUESTION = "Which abnormalities are present in this chest X-ray?"
_PROBE_TOKENS = 128


class Probe(NamedTuple):
    """The one image prompt on which the export is compared with its source."""

    question: str
    options: tuple[str, ...]
    images: tuple[Image.Image, ...]
    profile: Profile = OURS
    task: str | None = None
    reasoned: bool = True

    def messages(self) -> list[dict[str, Any]]:
        asked = (), self.question, self.options, len(self.images)
        return conversation(*asked, self.profile, task=self.task, reasoned=self.reasoned)


class Answer(NamedTuple):
    """A greedy answer to the probe: its tokens and their log-probabilities."""

    text: str
    tokens: list[int]
    logps: list[float]


def run(recipe: Recipe, folder: Path, verify_vllm: bool = True) -> None:
    """Exports `recipe.export.source` (a stage, or a folder: full checkpoint or PEFT adapter) into the fresh `folder`.

    Raises:
        UserError: no such checkpoint, a damaged one, no processor files, or a failed proof: use nothing of it then.
    """
    source = recipe.export.source
    checkpoint = stages.exported(recipe)
    base = _adapter_base(checkpoint)
    facts = read_facts(recipe, source)
    processor = load_processor(checkpoint if base is None or _has_processor(checkpoint) else base)
    probe = _probe(recipe)

    policy, model = _load(checkpoint, base)
    trained = _logits(policy, processor, probe)
    if base is not None:
        model = policy.merge_and_unload()
    _save(model, processor, folder)
    del policy, model
    gc.collect()

    check: dict[str, Any] = {"source": str(checkpoint), "merged_adapter": base is not None}
    answer, verified = _verify_transformers(folder, trained, probe, merged=base is not None)
    check |= verified
    if verify_vllm:
        check |= _verify_vllm(folder, probe, answer, check["dtype"])
    (folder / "README.md").write_text(model_card(recipe, source, check, facts), encoding="utf-8")
    (folder / EXPORT_CHECK).write_text(json.dumps(check, indent=1) + "\n", encoding="utf-8")


def push(folder: Path, repository: str) -> None:
    """Uploads an export as a private model repository, with the login of `hf auth login` or `HF_TOKEN`.

    Raises:
        UserError: the upload is refused.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled

    try:
        api = HfApi()
        api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder)
    except (LocalTokenNotFoundError, HFValidationError, HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"cannot push to {repository}: {first}; check `hf auth login` and the repository name"
        ) from error


def _adapter_base(checkpoint: Path) -> str | None:
    """The base model of a PEFT adapter folder; None for a full checkpoint."""
    if (checkpoint / CONFIG).is_file():
        return None
    path = checkpoint / ADAPTER_CONFIG
    base = read_object(path, "train the adapter again").get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise UserError(f"{path}: base_model_name_or_path is {base!r}; name the base model there")
    return base


def _has_processor(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("processor_config.json", "preprocessor_config.json"))


def _load(checkpoint: Path, base: str | None) -> tuple[Any, PreTrainedModel]:
    """The trained policy and the full model in it, in the precision they were stored in."""
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText

    try:
        model = AutoModelForImageTextToText.from_pretrained(base or str(checkpoint), dtype="auto")
        if base is None:
            return model, model
        from peft import PeftModel

        return PeftModel.from_pretrained(model, str(checkpoint)), model
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{checkpoint}: the model cannot be loaded ({first}); train or copy it again") from error


def _save(model: PreTrainedModel, processor: ProcessorMixin, folder: Path) -> None:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _probe(recipe: Recipe) -> Probe:
    """The first test example; without a mined data set, a drawn ramp and the standard question."""
    from PIL import Image

    from reasoner.pictures import read_rgb
    from reasoner.training.dataset import load_examples

    data, profile = recipe.output / "data", recipe.model.prompts
    if any((data / "examples").glob("test-*.parquet")):
        example = load_examples(data, "test", limit=1, decode=True)[0]
        images = tuple(profile.shown(read_rgb(path)) for path in example.images)
        reasoned = profile.reasons(example.reasoning)
        return Probe(example.question, example.options, images, profile, example.task, reasoned)
    image = profile.shown(Image.linear_gradient("L").convert("RGB"))
    return Probe(_PROBE_QUESTION, (), (image,), profile, "abnormality_list")


def _inputs(processor: ProcessorMixin, probe: Probe) -> Any:
    text = processor.apply_chat_template(probe.messages(), add_generation_prompt=True, tokenize=False)
    return processor(text=[text], images=list(probe.images) or None, return_tensors="pt")


def _logits(model: Any, processor: ProcessorMixin, probe: Probe) -> torch.Tensor:
    """[tokens, vocabulary] in float32."""
    import torch

    with torch.inference_mode():
        return model.eval()(**_inputs(processor, probe)).logits[0].float()


def _verify_transformers(
    output: Path, trained: torch.Tensor, probe: Probe, merged: bool
) -> tuple[Answer, dict[str, Any]]:
    import torch
    from transformers import AutoModelForImageTextToText

    from reasoner.models.load import vision_token_ids

    model: Any = AutoModelForImageTextToText.from_pretrained(output, dtype="auto")
    processor = load_processor(output)
    difference = (_logits(model, processor, probe) - trained).abs().max().item()
    rounding = MERGE_EPSILONS * torch.finfo(model.dtype).eps * trained.abs().max().item() if merged else 0.0
    tolerance = max(LOGIT_TOLERANCE, rounding)
    if not difference <= tolerance:
        raise UserError(f"{output}: logits differ from the source by {difference:.1e} > {tolerance:.0e}; do not use it")
    inputs = _inputs(processor, probe)
    generated = model.generate(
        **inputs,
        max_new_tokens=_PROBE_TOKENS,
        do_sample=False,
        suppress_tokens=vision_token_ids(processor),
        return_dict_in_generate=True,
        output_logits=True,
    )
    tokens = generated.sequences[0, inputs["input_ids"].shape[1] :]
    logps = torch.stack([step[0] for step in generated.logits]).float().log_softmax(-1).gather(1, tokens[:, None])[:, 0]
    answer = Answer(processor.decode(tokens, skip_special_tokens=True), tokens.tolist(), logps.tolist())
    return answer, {
        "dtype": str(model.dtype).removeprefix("torch."),
        "parameters": model.num_parameters(),
        "logits_max_difference": difference,
        "logits_tolerance": tolerance,
        "question": probe.question,
        "asked": probe.messages()[-1]["content"][-1]["text"],
        "transformers_answer": answer.text,
    }


def _verify_vllm(output: Path, probe: Probe, answer: Answer, dtype: str) -> dict[str, Any]:
    """Lets vLLM answer in `dtype`, its own choice for float32 being bfloat16, and say how likely it finds `answer`."""
    from reasoner.compat.vllm import collapse_runs
    from reasoner.models.engine import build_engine, sampling_params

    processor: Any = load_processor(output)
    engine = build_engine(output, max_images=len(probe.images), dtype=dtype)
    text = processor.apply_chat_template(probe.messages(), add_generation_prompt=True, tokenize=False)
    prompt: Any = {"prompt": text}
    asked = collapse_runs(_inputs(processor, probe)["input_ids"][0].tolist(), processor.image_token_id)
    whole: Any = {"prompt_token_ids": asked + answer.tokens}
    for row in (prompt, whole):
        row |= {"multi_modal_data": {"image": list(probe.images)}} if probe.images else {}
    params = [sampling_params(processor, temperature=0.0, max_tokens=length) for length in (_PROBE_TOKENS, 1)]
    params[1].prompt_logprobs = 0
    answered, read = engine.generate([prompt, whole], params, use_tqdm=False)
    theirs = zip(answer.tokens, read.prompt_logprobs[-len(answer.tokens) :], strict=True)
    differences = [abs(ours - step[token].logprob) for ours, (token, step) in zip(answer.logps, theirs, strict=True)]
    mean = sum(differences) / len(differences)
    if not mean <= LOGP_TOLERANCE:
        raise UserError(
            f"{output}: log-probabilities in vLLM differ from those in transformers by {mean:.2f} on average "
            f"> {LOGP_TOLERANCE}; do not use it"
        )
    return {"vllm_answer": answered.outputs[0].text, "vllm_logps_max_difference": max(differences)}
