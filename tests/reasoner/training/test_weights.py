"""Weights of tokens in the loss of SFT: which tokens get them, and that the trainer's loss is the weighted mean."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from PIL import Image

from reasoner.models import tiny
from reasoner.models.load import load_model, load_processor
from reasoner.prompts import format_completion
from reasoner.schema import Example
from reasoner.training.feed import to_dataset
from reasoner.training.weights import TokenWeights, token_weights

REASONING = "No fracture. There is a small left pleural effusion. The heart may be enlarged."
COMPLETION = format_completion(REASONING, "Cardiomegaly, Pleural Effusion")
QUESTION = "Which abnormalities are present?"
WEIGHTS = TokenWeights(openings=5, findings=3, answers=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.build(tmp_path_factory.mktemp("tiny"), [COMPLETION, f"user\n{QUESTION}", "assistant\n"] * 4)


def test_openings_findings_and_answers_weigh_what_they_are_given(folder):
    tokenizer = load_processor(folder).tokenizer
    weights = token_weights(tokenizer, COMPLETION, WEIGHTS)
    ids = tokenizer(COMPLETION, add_special_tokens=False)["input_ids"]
    assert len(weights) == len(ids)
    words = {weight: "".join(tokenizer.decode(i) for i, w in zip(ids, weights, strict=True) if w == weight)
             for weight in (5.0, 3.0, 2.0, 1.0)}  # fmt: skip
    assert words[5.0].split() == ["No", "There", "The"], "first words"
    assert "fracture" in words[1.0], "what is denied weighs as all else"
    assert "pleural effusion" in words[3.0] and "enlarged" in words[3.0]
    assert words[2.0] == "Cardiomegaly, Pleural Effusion"
    assert set(token_weights(tokenizer, COMPLETION, TokenWeights())) == {1.0} and TokenWeights().even


def test_the_loss_is_the_weighted_mean_of_the_tokens_losses(folder, tmp_path):
    import torch
    from trl import SFTConfig, SFTTrainer

    from reasoner.compat.trl import TurnsCollator, WeighingTrainer

    Image.fromarray(np.full((112, 112), 90, np.uint8)).save(tmp_path / "a.png")
    examples = [
        Example(id=str(n), study_id=str(n), task="abnormality_list", question=QUESTION, reasoning=reasoning,
                answer="No Finding", images=(str(tmp_path / "a.png"),), labels={}, report="")
        for n, reasoning in enumerate((REASONING, "No fracture."))
    ]  # fmt: skip
    processor = load_processor(folder)
    args = SFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to=[], max_length=None,
                     completion_only_loss=True, gradient_checkpointing=False, remove_unused_columns=False)  # fmt: skip

    def trainer(cls, weights=None):
        weigh = weights and partial(token_weights, processor.tokenizer, weights=weights)
        collator = weigh and TurnsCollator(processor, completion_only_loss=True, weigh=weigh)
        rows = to_dataset(examples, completions=True)
        return cls(model=load_model(str(folder), dtype="float32"), args=args, train_dataset=rows,
                   processing_class=processor, data_collator=collator)  # fmt: skip

    def batch(one):
        return next(iter(one.get_train_dataloader()))

    torch.manual_seed(0)
    weighed = trainer(WeighingTrainer, WEIGHTS)
    given = batch(weighed)
    logits = weighed.model(**{k: v for k, v in given.items() if k not in ("labels", "token_weights")}).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), given["labels"][:, 1:], ignore_index=-100, reduction="none"
    )
    weights = given["token_weights"][:, 1:] * (given["labels"][:, 1:] != -100)
    assert set(weights.unique().tolist()) == {0.0, 1.0, 2.0, 3.0, 5.0}
    loss = weighed.compute_loss(weighed.model, given)
    assert loss.item() == pytest.approx(((losses * weights).sum() / weights.sum()).item(), rel=1e-4)

    torch.manual_seed(0)
    even = trainer(WeighingTrainer, TokenWeights())
    loss = even.compute_loss(even.model, batch(even))
    torch.manual_seed(0)
    plain = trainer(SFTTrainer)
    assert loss.item() == pytest.approx(plain.compute_loss(plain.model, batch(plain)).item(), rel=1e-5)
