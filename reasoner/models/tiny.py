"""Builds a Qwen2.5-VL small enough to learn on two CPU cores: the real architecture, tokenizer, chat template and
processor files, with random weights, in a folder that `transformers` and vLLM load like any other checkpoint.

The defaults (0.9 M parameters, text 96 x 2 layers, vision 128 x 1 layer, patch 14, one token per 28 x 28 pixels)
are the ones that learned phantoms fastest on the CPU; every size can be overridden from the recipe (`model.options`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import (
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from reasoner.prompts import TAGS

#: Qwen2.5-VL's special tokens. The think and answer tags are ordinary added tokens, as in the real tokenizers: special
#: ones would vanish when TRL decodes completions with `skip_special_tokens=True`.
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

#: Qwen2.5-VL's own template, without its tool branch.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_PATCH, _MERGE = 14, 2


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Qwen2Tokenizer:
    """A byte-level BPE of Qwen's kind (same pre-tokenizer and normalizer), trained on `texts`."""
    backend = Tokenizer(BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern=Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    size = vocab_size - len(SPECIAL_TOKENS) - len(TAGS)
    backend.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=size, min_frequency=2, initial_alphabet=alphabet, show_progress=False),
    )
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    backend.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return Qwen2Tokenizer(
        tokenizer_object=backend,
        unk_token="<|endoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens={
            "image_token": "<|image_pad|>",
            "video_token": "<|video_pad|>",
            "vision_bos_token": "<|vision_start|>",
            "vision_eos_token": "<|vision_end|>",
        },
    )


def make_config(
    token_id: Mapping[str, int],
    vocab_size: int,
    *,
    image_size: int = 112,
    hidden_size: int = 96,
    num_hidden_layers: int = 2,
    num_attention_heads: int = 3,
    num_key_value_heads: int = 3,
    intermediate_size: int = 256,
    vision_hidden_size: int = 128,
    vision_depth: int = 1,
    vision_num_heads: int = 4,
    vision_intermediate_size: int = 256,
    initializer_range: float = 0.08,
    max_position_embeddings: int = 1024,
) -> Qwen2_5_VLConfig:
    """The model's config, from the ids of the special tokens and the sizes that a recipe may set.

    Raises:
        ValueError: when `image_size` is not a multiple of 28.
    """
    if image_size % (_PATCH * _MERGE):
        raise ValueError(f"image_size must be a multiple of {_PATCH * _MERGE}, got {image_size}")
    head_dim = hidden_size // num_attention_heads
    # Temporal, height and width shares of the rotary half head, in Qwen2.5-VL's proportion of 1 : 1.5 : 1.5.
    temporal = head_dim // 8
    height = (head_dim // 2 - temporal) // 2
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": vocab_size,
            "hidden_size": hidden_size,
            "intermediate_size": intermediate_size,
            "num_hidden_layers": num_hidden_layers,
            "num_attention_heads": num_attention_heads,
            "num_key_value_heads": num_key_value_heads,
            "max_position_embeddings": max_position_embeddings,
            "initializer_range": initializer_range,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [temporal, height, head_dim // 2 - temporal - height],
            },
            "bos_token_id": token_id["<|endoftext|>"],
            "eos_token_id": token_id["<|im_end|>"],
            "pad_token_id": token_id["<|endoftext|>"],
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": vision_depth,
            "hidden_size": vision_hidden_size,
            "intermediate_size": vision_intermediate_size,
            "num_heads": vision_num_heads,
            "patch_size": _PATCH,
            "spatial_merge_size": _MERGE,
            "window_size": image_size,
            "fullatt_block_indexes": list(range(vision_depth)),
            "out_hidden_size": hidden_size,
            "initializer_range": initializer_range,
        },
        image_token_id=token_id["<|image_pad|>"],
        video_token_id=token_id["<|video_pad|>"],
        vision_start_token_id=token_id["<|vision_start|>"],
        vision_end_token_id=token_id["<|vision_end|>"],
        tie_word_embeddings=True,
        initializer_range=initializer_range,
    )


def build(
    output: Path,
    texts: Iterable[str],
    *,
    seed: int = 0,
    image_size: int = 112,
    vocab_size: int = 1024,
    **sizes: Any,
) -> Path:
    """Writes the checkpoint folder and returns it. `texts` train the tokenizer (prompts, reasoning and answers).

    `image_size` is the edge in pixels of the square images (a multiple of 28); min_pixels = max_pixels, so every image
    becomes `(image_size / 28) ** 2` tokens. `sizes` are those of `make_config`. Deterministic by `seed`.

    Raises:
        ValueError: when `image_size` is not a multiple of 28.
    """
    tokenizer = train_tokenizer(texts, vocab_size)
    pixels = {"shortest_edge": image_size**2, "longest_edge": image_size**2}
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=dict(pixels)),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=dict(pixels)),
        chat_template=CHAT_TEMPLATE,
    )
    token_id = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    model_config = make_config(token_id, len(tokenizer), image_size=image_size, **sizes)
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(model_config)
    model.generation_config = GenerationConfig(
        bos_token_id=token_id["<|endoftext|>"],
        eos_token_id=token_id["<|im_end|>"],
        pad_token_id=token_id["<|endoftext|>"],
        do_sample=False,
    )
    model.save_pretrained(output)
    processor.save_pretrained(output)
    return output
