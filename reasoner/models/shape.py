"""The sizes of a Qwen-VL that memory and time follow from, read from its config alone: no weights are loaded.

Parameters are counted on the model itself, built on torch's `meta` device. Configs of the shipped recipes' bases lie in
`bases/` with their source; of others the folder or the Hub cache is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner.errors import UserError
from reasoner.models import TINY
from reasoner.models.positions import config_path
from reasoner.runtime.disk import read_object

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig

BASES = Path(__file__).parent / "bases"
#: Tensors of the inner width that a block's MLP keeps for the backward pass, by the tower's activation: x * sigmoid(kx)
#: keeps its sigmoid, too, and a gated one both factors.
_KEPT_INNER = {"gelu": 2, "gelu_pytorch_tanh": 2, "quick_gelu": 3}
_GATED = 4
#: What the tiny model's vocabulary holds when a recipe does not say (`reasoner.models.tiny.build`).
_TINY_VOCABULARY = 1024
#: Of Qwen2-VL's processor, for checkpoints that have none beside their config.
_MAX_PIXELS = 12_845_056


@dataclass(frozen=True)
class Text:
    """The language model: sizes in elements, `inner` of the MLP."""

    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    #: Whether queries and keys are normalised (Qwen3).
    normed_heads: bool

    @property
    def attended(self) -> int:
        """The width of all query heads together."""
        return self.heads * self.head_size

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_size


@dataclass(frozen=True)
class Tower:
    """The vision tower; a patch is `patch` x `patch` pixels, `merge` x `merge` of them become one token."""

    blocks: int
    width: int
    inner: int
    heads: int
    patch: int
    merge: int
    #: Numbers that a patch is given as (channels x frames x pixels).
    patch_numbers: int
    #: Tensors of the inner width kept by an MLP.
    kept_inner: int
    #: Whether norms are RMS norms, which compute in float32, rather than layer norms.
    rms: bool
    #: Blocks that attend to the whole image; the others to windows of `window` patches. Without windows all.
    whole: int
    window: int
    #: Mergers: one, and one for each level that DeepStack shows the language model (Qwen3).
    mergers: int

    @property
    def edge(self) -> int:
        """Pixels of an image token's edge."""
        return self.patch * self.merge


@dataclass(frozen=True)
class Parameters:
    """How many, by part. `head` is 0 where the output layer shares the embeddings."""

    embeddings: int
    layer: int
    final_norm: int
    head: int
    tower_block: int
    #: Patch embedding, mergers, positions.
    tower_rest: int
    text: int
    tower: int

    @property
    def total(self) -> int:
        return self.embeddings + self.text + self.head + self.tower


@dataclass(frozen=True)
class Shape:
    """A model's sizes. `linears`: linear layer by name -> (inputs, outputs), which adapters are counted from."""

    name: str
    text: Text
    tower: Tower
    parameters: Parameters
    linears: Mapping[str, tuple[int, int]]
    #: Largest image of the checkpoint's own processor, in pixels.
    max_pixels: int

    def adapted(self, targets: str | Iterable[str]) -> dict[str, tuple[int, int]]:
        """The linear layers that PEFT puts adapters on: a regular expression on the whole name, or endings of it."""
        if isinstance(targets, str):
            return {name: sizes for name, sizes in self.linears.items() if re.fullmatch(targets, name)}
        ends = tuple(targets)
        return {
            name: sizes
            for name, sizes in self.linears.items()
            if name in ends or name.endswith(tuple(f".{end}" for end in ends))
        }


def shape_of(base: str, options: Mapping[str, Any] | None = None) -> Shape:
    """The sizes of `model.base`: `tiny` with its `model.options`, a Hub id, or the folder of a checkpoint.

    Raises:
        UserError: a Hub id whose config is neither shipped nor cached, a damaged config, or one of no Qwen-VL.
    """
    if base == TINY:
        sizes = {"vocab_size": _TINY_VOCABULARY, "image_size": 112} | dict(options or {})
        return _measure(TINY, _tiny(sizes), sizes["image_size"] ** 2)
    shipped = {facts["hub"]: facts for facts in (read_object(p, "restore it") for p in sorted(BASES.glob("*.json")))}
    facts = shipped.get(base, {"max_pixels": _MAX_PIXELS})
    if (path := config_path(base)) is not None:
        content = read_object(path, "restore the checkpoint or make it again")
        return _measure(str(base), json.dumps(content), _max_pixels(path.parent, facts["max_pixels"]))
    if base in shipped:
        return _measure(base, json.dumps(facts["config"]), facts["max_pixels"])
    raise UserError(
        f"{base}: its config is not here; fetch it with `hf download {base} config.json`, or set model.base to "
        f"a folder or one of {', '.join(shipped)}"
    )


def _tiny(sizes: Mapping[str, Any]) -> str:
    from reasoner.models import tiny

    others = {name: value for name, value in sizes.items() if name != "vocab_size"}
    try:
        ids = {token: number for number, token in enumerate(tiny.SPECIAL_TOKENS)}
        return tiny.make_config(ids, sizes["vocab_size"], **others).to_json_string(use_diff=False)
    except (TypeError, ValueError) as error:
        raise UserError(f"model.options: {error}") from error


def _max_pixels(folder: Path, otherwise: int) -> int:
    """Of the checkpoint's processor, where its file is there."""
    path = folder / "preprocessor_config.json"
    content = read_object(path, "restore the checkpoint or make it again") if path.is_file() else {}
    size = content.get("size")
    found = size.get("longest_edge", size.get("max_pixels")) if isinstance(size, dict) else None
    found = found if found is not None else content.get("max_pixels")
    return found if isinstance(found, int) and found > 0 else otherwise


def _config(content: Mapping[str, Any], where: str) -> PreTrainedConfig:
    from transformers import AutoConfig

    kind = content.get("model_type")
    if kind not in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl"):
        raise UserError(f"{where}: model_type is {kind!r}; plans are made for qwen2_vl, qwen2_5_vl and qwen3_vl")
    try:
        return AutoConfig.for_model(**content)
    except Exception as error:  # whatever transformers makes of it
        raise UserError(f"{where}: not a config that transformers reads ({error})") from error


@cache
def _measure(name: str, content: str, max_pixels: int) -> Shape:
    """Builds the model of a config (JSON) without its weights and counts."""
    import torch
    from transformers import AutoModelForImageTextToText

    config: Any = _config(json.loads(content), name)
    try:
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
    except Exception as error:  # sizes that do not go together
        raise UserError(f"{name}: no model can be built from its config ({error})") from error
    text, vision = config.text_config, config.vision_config
    tower, language = model.model.visual, model.model.language_model
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    blocks = _count(tower.blocks)
    parameters = Parameters(
        embeddings=embeddings.numel(),
        layer=_count(language.layers) // text.num_hidden_layers,
        final_norm=_count(language.norm),
        head=0 if head is embeddings else head.numel(),
        tower_block=blocks // vision.depth,
        tower_rest=_count(tower) - blocks,
        text=_count(language) - embeddings.numel(),
        tower=_count(tower),
    )
    linears = {
        part_name: (part.in_features, part.out_features)
        for part_name, part in model.named_modules()
        if isinstance(part, torch.nn.Linear) and part.weight is not head
    }
    return Shape(name, _text(text), _tower(config.model_type, vision), parameters, linears, max_pixels)


def _count(part: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def _text(config: Any) -> Text:
    heads = config.num_attention_heads
    return Text(
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        inner=config.intermediate_size,
        heads=heads,
        kv_heads=config.num_key_value_heads,
        head_size=getattr(config, "head_dim", None) or config.hidden_size // heads,
        vocabulary=config.vocab_size,
        normed_heads=config.model_type.startswith("qwen3"),
    )


def _tower(kind: str, config: Any) -> Tower:
    first = kind == "qwen2_vl"  # whose `hidden_size` is the language model's
    width = config.embed_dim if first else config.hidden_size
    windowed = kind == "qwen2_5_vl"
    return Tower(
        blocks=config.depth,
        width=width,
        inner=int(width * config.mlp_ratio) if first else config.intermediate_size,
        heads=config.num_heads,
        patch=config.patch_size,
        merge=config.spatial_merge_size,
        patch_numbers=config.in_channels * config.temporal_patch_size * config.patch_size**2,
        kept_inner=_GATED if windowed else _KEPT_INNER.get(config.hidden_act, 2),
        rms=windowed,
        whole=len(config.fullatt_block_indexes) if windowed else config.depth,
        window=(config.window_size // config.patch_size) ** 2 if windowed else 0,
        mergers=1 + len(getattr(config, "deepstack_visual_indexes", ())),
    )
