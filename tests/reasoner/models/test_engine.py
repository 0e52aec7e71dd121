"""vLLM and the trainer must be the same policy: same prompts, same weights after a push, no vision token sampled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from reasoner.compat.vllm import collapse_runs, forget_images
from reasoner.models import engine as engines
from reasoner.models import tiny
from reasoner.models.load import VISION_TOKENS, load_model, load_processor, vision_token_ids
from reasoner.prompts import TAGS

QUESTION = "Which abnormalities are present in this chest X-ray?"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    texts = [QUESTION, "The heart is enlarged.", "system\nYou are a helpful assistant.", "user\nassistant\n"] * 4
    return tiny.build(tmp_path_factory.mktemp("tiny"), texts, seed=1)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (112, 112), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def engine(checkpoint):
    return engines.build_engine(checkpoint, max_model_len=256, max_images=2, max_num_seqs=8, dtype="float32")


def trainer_logps(model, processor, image, completion_ids):
    """The trainer's log-probability of each completion token after the image prompt."""
    content = [{"type": "image", "image": Image.open(image)}, {"type": "text", "text": QUESTION}]
    messages = [{"role": "user", "content": content}]
    inputs = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    prompt_length = inputs["input_ids"].shape[1]
    completion = torch.tensor([completion_ids])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], completion], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(completion)], 1)
    with torch.no_grad():
        logits = model(**inputs).logits[0, prompt_length - 1 : -1]
    return prompt_length, logits.log_softmax(-1).gather(1, completion[0][:, None])[:, 0]


def sample(engine, processor, image, **options):
    from vllm import SamplingParams

    [row] = engines.prompt_inputs(processor, [engines.Prompt(QUESTION, [], [image])])
    params = SamplingParams(max_tokens=12, temperature=1.0, logprobs=0, **options)
    [output] = engine.generate([row], params, use_tqdm=False)
    logps = [next(iter(token.values())).logprob for token in output.outputs[0].logprobs]
    return len(output.prompt_token_ids), list(output.outputs[0].token_ids), torch.tensor(logps)


def test_tags_are_ordinary_tokens_that_survive_decoding(checkpoint):
    tokenizer = load_processor(checkpoint).tokenizer
    for tag in TAGS:
        ids = tokenizer(tag)["input_ids"]
        assert len(ids) == 1 and tokenizer.decode(ids, skip_special_tokens=True) == tag


@pytest.mark.slow
@pytest.mark.anywhere(to="cpu")
def test_a_weight_push_reaches_the_kernels(checkpoint, engine, image):
    """Perturb, push as TRL does, compare: before the push the two differ, after it they agree to 4 digits."""
    processor, model = load_processor(checkpoint), load_model(checkpoint, dtype="float32")
    prompt_length, ids, theirs = sample(engine, processor, image)
    ours_length, ours = trainer_logps(model, processor, image, ids)
    assert prompt_length == ours_length, "image tokens must be expanded once and only once"
    assert torch.allclose(ours, theirs, atol=1e-4)

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    _, ids, theirs = sample(engine, processor, image)
    assert not torch.allclose(trainer_logps(model, processor, image, ids)[1], theirs, atol=1e-2)

    runner = engine.llm_engine.model_executor.driver_worker.model_runner
    for name, parameter in model.named_parameters():
        runner.model.load_weights([(name, parameter.data)])
    engine.reset_prefix_cache()
    forget_images(engine)
    _, ids, theirs = sample(engine, processor, image)
    assert torch.allclose(trainer_logps(model, processor, image, ids)[1], theirs, atol=1e-4)


@pytest.mark.slow
@pytest.mark.anywhere(to="cpu")
def test_vision_tokens_cannot_be_sampled_even_when_the_logits_ask_for_them(checkpoint, engine, image):
    processor = load_processor(checkpoint)
    vision = vision_token_ids(processor)
    assert len(vision) == len(VISION_TOKENS)
    # The strongest push that a request can give: enough for any ordinary token, never for a vision token.
    ordinary = processor.tokenizer("<think>")["input_ids"][0]
    _, ids, _ = sample(engine, processor, image, logit_bias={ordinary: 100.0})
    assert set(ids) == {ordinary}, "the drive must work on other tokens, or this test shows nothing"
    # <|vision_pad|> stands for no features: harmless, unknown to the model's config, and held off by the bias alone.
    masked = set(vision) - {processor.tokenizer.convert_tokens_to_ids("<|vision_pad|>")}
    _, ids, _ = sample(engine, processor, image, logit_bias=dict.fromkeys(masked, 100.0))
    assert not set(ids) & masked
    _, ids, _ = sample(engine, processor, image, logit_bias=engines.vision_logit_bias(processor))
    assert not set(ids) & set(vision)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [([1, 9, 9, 9, 2], [1, 9, 2]), ([9, 9, 1, 9, 9], [9, 1, 9]), ([1, 1, 2], [1, 1, 2]), ([], [])],
)
def test_collapse_runs_leaves_one_placeholder_per_image(ids, expected):
    assert collapse_runs(ids, 9) == expected
