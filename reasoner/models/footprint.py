"""What a training step of a Qwen-VL keeps in memory, in bytes: activations saved for the backward pass, and the peak.

The formulas count the tensors that autograd saves in the modules of transformers 5.17 (`models/qwen2_vl`, `qwen2_5_vl`,
`qwen3_vl`) with its `sdpa` attention, and in TRL 1.16's fused output layer (`kernels/chunked_logprob.py`), which never
holds all logits. With c bytes a number, and per token of a language layer of width h, query width a, inner width i:

    norms       2 x 4h   their inputs, which RMS norms take in float32
                2 x ch   normalised, which the gradient of a norm's weight needs
    linear      2 x ch   inputs of the projections, and of the gate and up layers
    attention   4 x ca   queries, keys and values repeated for every query head, and the output
    mlp         4 x ci   gate before and after its activation, up, and their product

Frozen weights need no inputs. tests/reasoner/models/test_footprint.py compares with
`torch.autograd.graph.saved_tensors_hooks`, benchmarks/plan_check.py with the memory of real steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from reasoner.models.shape import Shape, Text, Tower

#: Bytes of a float32.
F32 = 4
#: Integer tensors of a batch, 8 bytes a token each: ids, mask, labels, kinds of tokens.
_BATCH_INTEGERS = 4 * 8
#: Tokens and vocabulary of a tile of TRL's fused output layer.
TILE_TOKENS, TILE_WORDS = 4096, 32768
#: Float32 tensors of a tile's size that its backward pass holds beside it without Triton: logits scaled twice,
#: log-probabilities, probabilities, gradient, three of the expression that adds to it (one of them of booleans).
TILE_COPIES = 7.25
#: Bytes that a CPU maps at a time: of a tile's rows, which are as long as `TILE_WORDS`, only what is touched.
_PAGE = 4096


@dataclass(frozen=True)
class Adapters:
    """LoRA of one rank on some linear layers."""

    rank: int
    dropout: float
    parameters: int
    #: Sum of the adapted layers' input widths, and how many there are, in one layer of the language model.
    layer_inputs: int
    layer_count: int
    #: Whether adapters sit in the tower, which must then be passed backwards.
    in_tower: bool = False


def adapters_of(shape: Shape, targets: str | Iterable[str], *, rank: int, dropout: float) -> Adapters:
    """The adapters that PEFT puts on the linear layers of `targets` (as in `Shape.adapted`)."""
    adapted = shape.adapted(targets)
    layers = {name: sizes for name, sizes in adapted.items() if "visual" not in name.split(".")}
    return Adapters(
        rank=rank,
        dropout=dropout,
        parameters=sum(rank * (inputs + outputs) for inputs, outputs in adapted.values()),
        layer_inputs=sum(inputs for inputs, _ in layers.values()) // shape.text.layers,
        layer_count=len(layers) // shape.text.layers,
        in_tower=len(layers) < len(adapted),
    )


@dataclass(frozen=True)
class Training:
    """How a model is trained: `number` bytes a weight and an activation (4 or 2)."""

    number: int
    checkpointing: bool
    freeze_vision: bool = False
    adapters: Adapters | None = None
    #: GPUs have fused kernels where CPUs have several tensors: Triton folds logits in place, dropout keeps booleans.
    gpu: bool = True

    @property
    def whole(self) -> bool:
        """Whether the language model's own weights are trained."""
        return self.adapters is None

    @property
    def tower_trained(self) -> bool:
        return self.whole and not self.freeze_vision

    @property
    def tower_kept(self) -> bool:
        """Whether the backward pass goes through the tower."""
        return self.tower_trained or (self.adapters is not None and self.adapters.in_tower)


@dataclass(frozen=True)
class Batch:
    """What passes through the model at once: `rows` of `length` tokens, with `patches` of all images of a row."""

    rows: int
    length: int
    patches: int
    #: Tokens a row whose log-probabilities are taken.
    scored: int
    #: Whether rows are of different lengths, so that a mask must be kept.
    padded: bool = True
    #: Patches of the longest sequence that the tower attends to: of one image.
    image_patches: int = 0

    @property
    def tokens(self) -> int:
        return self.rows * self.length


class Part(NamedTuple):
    """A stretch of the forward pass: bytes kept for the backward pass, bytes that it works with there beside them,
    bytes kept in their place under gradient checkpointing, and parameters whose gradients it leaves."""

    kept: float
    work: float
    entry: float
    parameters: int


def language_layer(shape: Shape, batch: Batch, training: Training) -> Part:
    """One layer of the language model."""
    text, c, tokens = shape.text, training.number, batch.tokens
    whole, adapters = training.whole, training.adapters
    kept: float = 2 * (F32 * text.width + F32)  # the norms' inputs, and the inverse of their size
    kept += 4 * c * text.attended + F32 * text.heads
    kept += 3 * c * text.inner
    if whole:
        kept += 4 * c * text.width + c * text.inner
    if text.normed_heads:
        kept += (F32 + c * whole) * (text.attended + text.kv_width) + F32 * (text.heads + text.kv_heads)
    if adapters is not None:
        kept += _adapted(text, adapters, c, 1 if training.gpu else F32)
    if batch.padded:
        kept += c * batch.length
    work = c * (2 * text.inner + text.width)  # gradients of gate, up and product, less the product
    parameters = shape.parameters.layer if whole else 0
    return Part(tokens * kept, tokens * work, tokens * c * text.width, parameters)


def _adapted(text: Text, adapters: Adapters, c: int, mask: int) -> float:
    """Inputs of adapters and their narrow outputs, a token. Autocast copies the input for each, dropout draws one."""
    narrow = c * adapters.rank * adapters.layer_count
    if adapters.dropout:
        return narrow + (mask + c) * adapters.layer_inputs
    if c < F32:
        return narrow + c * adapters.layer_inputs
    return narrow + c * (2 * text.width + text.inner)  # the layers' own inputs, once


def tower_block(shape: Shape, batch: Batch, training: Training) -> Part:
    """One block of the vision tower, which sees each image once a row."""
    tower, c = shape.tower, training.number
    patches = batch.rows * batch.patches
    kept = _norms(tower, c, 2) + 2 * c * tower.width
    kept += c * 7 * tower.width + F32 * tower.heads  # queries, keys, all three unrotated, the output twice
    kept += c * tower.kept_inner * tower.inner
    work = c * (2 * tower.inner + tower.width)
    parameters = shape.parameters.tower_block if training.tower_trained else 0
    return Part(patches * kept, patches * work, patches * c * tower.width, parameters)


def tower_rest(shape: Shape, batch: Batch, training: Training) -> Part:
    """Patch embedding and mergers."""
    tower, c = shape.tower, training.number
    patches = batch.rows * batch.patches
    kept = tower.mergers * (_norms(tower, c, 1) + 3 * c * tower.width)
    kept += 2 * F32 * tower.width // tower.heads  # rotations, shared by all blocks
    if c < F32:
        kept += c * tower.patch_numbers  # the patches in the weights' precision
    return Part(patches * kept, patches * 2 * c * tower.width, 0, shape.parameters.tower_rest * training.tower_trained)


def _norms(tower: Tower, c: int, norms: int) -> int:
    return norms * ((F32 + c) * tower.width + F32 if tower.rms else c * tower.width + 2 * F32)


def head(shape: Shape, batch: Batch, training: Training) -> Part:
    """Final norm and fused output layer. Triton scores the rows that count, else all are."""
    text, c, whole = shape.text, training.number, training.whole
    scored = batch.rows * (batch.scored if training.gpu else batch.length - 1)
    kept = batch.tokens * (F32 * text.width + F32 + c * text.width * whole) + scored * (c * text.width + 10 * F32)
    tile = min(scored, TILE_TOKENS)
    words = F32 * min(text.vocabulary, TILE_WORDS)
    work = c * tile * TILE_WORDS if training.gpu else tile * (TILE_COPIES * words + max(words, _PAGE))
    work += F32 * scored * text.width
    parameters = shape.parameters.head + shape.parameters.final_norm if whole else 0
    if whole:  # accumulated in float32, then given back in the weights' precision
        work += F32 * text.vocabulary * text.width + c * text.vocabulary * text.width * (c < F32)
    return Part(kept, work, kept, parameters)


def embeddings(shape: Shape, batch: Batch, training: Training) -> Part:
    """Token embeddings with the images in their places; their gradient is dense."""
    c, own = training.number, shape.parameters.embeddings
    kept = batch.tokens * 2 * c * shape.text.head_size  # rotations, shared by all layers
    # Tied embeddings have a gradient from the output layer already, to which this one is added.
    work = c * own if training.whole and not shape.parameters.head else 0
    return Part(kept, work + batch.tokens * c * shape.text.width, kept, own if training.whole else 0)


def parts(shape: Shape, batch: Batch, training: Training) -> Iterator[tuple[Part, bool]]:
    """The forward pass in its order, each with whether gradient checkpointing runs it again on the way back."""
    if training.tower_kept and batch.patches:
        rest, block = tower_rest(shape, batch, training), tower_block(shape, batch, training)
        yield rest._replace(entry=rest.kept), False
        for _ in range(shape.tower.blocks):
            yield block, True
    embedded = embeddings(shape, batch, training)
    yield embedded, False
    layer = language_layer(shape, batch, training)
    for _ in range(shape.text.layers):
        yield layer, True
    yield head(shape, batch, training), False


@dataclass(frozen=True)
class Step:
    """Bytes of one forward and backward pass beside weights, gradients of earlier passes and optimizer."""

    #: Saved for the backward pass, as trained: with or without gradient checkpointing.
    activations: float
    #: The same, the other way round.
    otherwise: float
    #: The most that activations, their gradients and those of the parameters so far take together.
    peak: float
    #: The share of `peak` that is gradients of parameters.
    gradients: float


def step(shape: Shape, batch: Batch, training: Training, *, gradient: float, accumulated: bool) -> Step:
    """The peak of a forward and backward pass, found by walking the parts from the last to the first.

    Args:
        gradient: bytes of a trained parameter's gradient on this device; less than a number where they are sharded.
        accumulated: whether gradients of earlier batches are there, to which those of this one are added.
    """
    whole = list(parts(shape, batch, training))
    sums = {
        recomputed: sum(part.entry if again and recomputed else part.kept for part, again in whole)
        for recomputed in (True, False)
    }
    live = sums[training.checkpointing]
    trained = sum(part.parameters for part, _ in whole)
    if training.adapters is not None:
        trained = training.adapters.parameters
    gradients = trained * gradient if accumulated else 0.0
    peak, at_peak = live + gradients, gradients
    for part, again in reversed(whole):
        recomputed = part.kept if again and training.checkpointing else 0
        if not accumulated:
            gradients += part.parameters * gradient
        if (total := live + recomputed + part.work + gradients) > peak:
            peak, at_peak = total, gradients
        live -= part.entry if again and training.checkpointing else part.kept
    if not accumulated and training.adapters is not None:
        peak, at_peak = peak + trained * gradient, trained * gradient
    return Step(sums[training.checkpointing], sums[not training.checkpointing], peak, at_peak)


def given(shape: Shape, rows: int, length: int, patches: int) -> float:
    """Bytes of `rows` as they are given to the model: integers, and the patches in float32."""
    return rows * (length * _BATCH_INTEGERS + patches * shape.tower.patch_numbers * F32)


def cache_bytes(text: Text, number: int) -> int:
    """Bytes of a token in the cache of keys and values."""
    return 2 * text.layers * text.kv_width * number
