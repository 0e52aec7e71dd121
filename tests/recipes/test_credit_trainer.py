"""The hooks of the GRPO trainer on a policy that says what the test wants (`scripted.py`).

Run as a script, this file is one of two training processes.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from reasoner.prompts import format_completion
from tests.recipes.scripted import HALF, RIGHT, SIZE, WRONG, batch_of, build, examples, logged, policy, written


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    return policy(tmp_path_factory.mktemp("policy"))


@pytest.fixture(autouse=True)
def _scripted(monkeypatch):
    from trl import GRPOTrainer

    monkeypatch.setattr(GRPOTrainer, "_generate", GRPOTrainer._generate)  # put back afterwards


def test_off_it_is_trls_own(start, tmp_path):
    trainer = build(tmp_path, start)
    trainer.says = lambda number, n: RIGHT if n else WRONG
    output = trainer._generate_and_score_completions(batch_of(trainer, [0, 1]))
    assert output["advantages"].shape == (8,) and len(trainer.asked) == 1
    assert trainer.bridge.pool.rows == 8
    assert not any(row["edited"] or row["refilled"] for row in written(tmp_path))


def test_claims_weigh_more_in_the_advantages(start, tmp_path):
    trainer = build(tmp_path, start, claim_weight=4.0)
    trainer.says = lambda number, n: RIGHT if n else WRONG
    inputs = batch_of(trainer, [0, 1])
    plain = build(tmp_path, start)
    plain.says = trainer.says
    advantages = plain._generate_and_score_completions(batch_of(plain, [0, 1]))["advantages"]
    output = trainer._generate_and_score_completions(inputs)
    every, mask = output["advantages"], output["completion_mask"]
    assert every.shape == output["completion_ids"].shape
    assert torch.allclose((every * mask).sum(1) / mask.sum(1), advantages, atol=1e-5), "the mean weight is 1"
    tokenizer = trainer.processing_class.tokenizer
    heavy = [i for i, a in zip(output["completion_ids"][1], every[1], strict=True) if a > advantages[1]]
    said = tokenizer.decode(heavy).replace("enlarged", "enlarged ")
    assert " ".join(said.split()) == "small left pleural effusion heart is not enlarged Pleural Effusion"
    assert logged(trainer, "claim_weight/mean") == pytest.approx(1)
    assert 0.2 < logged(trainer, "claim_weight/share") < 0.8
    assert torch.isfinite(trainer._compute_loss(trainer.model, output))


def test_step_credit_and_claim_weights_add_up(start, tmp_path):
    says = lambda number, n: RIGHT if n % 2 else WRONG  # noqa: E731
    outputs = []
    for more in ({}, {"step_credit": 0.5}, {"step_credit": 0.5, "claim_weight": 3.0}):
        trainer = build(tmp_path, start, **more)
        trainer.says = says
        outputs.append(trainer._generate_and_score_completions(batch_of(trainer, [0, 1]))["advantages"])
    plain, credited, weighed = outputs
    added = credited - plain.unsqueeze(1)
    assert added.min() < -0.1 and added.max() > 0.1
    for one, other in zip(weighed, credited, strict=True):
        ratio = (one / other)[other.abs() > 1e-3]
        assert ratio.max() / ratio.min() == pytest.approx(3.0, rel=1e-3)


@pytest.mark.parametrize("replaces", ["worst", "own"])
def test_a_corrected_completion_enters_its_group(start, tmp_path, replaces):
    said = [HALF, WRONG, format_completion("There is a nodule.", "Edema"), HALF]
    trainer = build(tmp_path, start, edits={"rate": 1.0, "replaces": replaces})
    trainer.says = lambda number, n: said[n]
    output = trainer._generate_and_score_completions(batch_of(trainer, [0, 1]))
    rows = written(tmp_path)
    edited = [n for n, row in enumerate(rows) if row["edited"]]
    assert edited == ([2, 6] if replaces == "worst" else [1, 5]), "the worst, or itself"
    for n in edited:
        assert rows[n]["completion"] == RIGHT and rows[n]["edited_from"] == WRONG, "which is nearest"
        assert rows[n]["process_reward"] == rows[n]["answer_reward"] == 1.0
        assert output["advantages"][n] == output["advantages"].max() > 0.5
        assert trainer.processing_class.tokenizer.decode(output["completion_ids"][n], skip_special_tokens=True) == RIGHT
    assert logged(trainer, "edits/share") == 0.25 and logged(trainer, "edits/groups") == 1
    assert logged(trainer, "edits/gain") > 0.5 and logged(trainer, "edits/failed") == 0


def test_the_importance_weight_of_an_edit_is_that_of_the_old_policy(start, tmp_path):
    trainer = build(tmp_path, start, edits={"rate": 1.0}, trainer={"vllm_importance_sampling_mode": "token_truncate"})
    trainer.says = lambda number, n: WRONG if n else HALF
    output = trainer._generate_and_score_completions(batch_of(trainer, [0, 1]))
    edited = torch.tensor([row["edited"] for row in written(tmp_path)])
    mask = output["completion_mask"].bool()
    unknown = output["sampling_per_token_logps"].isnan()
    assert unknown[edited][mask[edited]].all() and not unknown[~edited].any()
    ratio = output["importance_sampling_ratio"]
    assert (ratio[edited][mask[edited]] == 1).all() and (ratio[~edited][mask[~edited]] != 1).any()
    old = output["old_per_token_logps"]
    assert logged(trainer, "edits/logp") == pytest.approx(
        (old[edited] * mask[edited]).sum().item() / mask[edited].sum().item()
    )
    # Before the first update the ratio to the old policy is 1: the gradient is that of the weighted log-likelihood.
    trainer.model.zero_grad()
    trainer._compute_loss(trainer.model, output).backward()
    gradient = [p.grad.clone() for p in trainer.model.parameters() if p.grad is not None]
    trainer.model.zero_grad()
    logps, _, _ = trainer._get_per_token_logps_and_entropies(
        trainer.model,
        torch.cat([output["prompt_ids"], output["completion_ids"]], 1),
        torch.cat([output["prompt_mask"], output["completion_mask"]], 1),
        output["completion_ids"].shape[1],
        **{k: output[k] for k in ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids")},
    )
    weight = output["advantages"].unsqueeze(1) * ratio * mask
    (-(weight * logps).sum() / output["num_items_in_batch"]).backward()
    for one, other in zip(gradient, (p.grad for p in trainer.model.parameters() if p.grad is not None), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_share_of_the_groups_is_corrected_the_same_again(start, tmp_path):
    trainer = build(tmp_path, start, prompts=8, edits={"rate": 0.5})
    trainer.says = lambda number, n: WRONG
    kept = []
    for _ in range(2):
        trainer._generate_and_score_completions(batch_of(trainer, list(range(8))))
        kept.append([bool(row["edited"]) for row in written(tmp_path)[-32:]])
    assert kept[0] == kept[1] and 0 < sum(kept[0]) < 8


def test_what_needs_no_correction_gets_none(start, tmp_path):
    trainer = build(tmp_path, start, edits={"rate": 1.0})
    trainer.says = lambda number, n: RIGHT
    trainer._generate_and_score_completions(batch_of(trainer, [0, 1]))
    assert logged(trainer, "edits/share") == 0 and not any(row["edited"] for row in written(tmp_path))


def test_a_correction_that_is_too_long_is_none(start, tmp_path):
    trainer = build(tmp_path, start, edits={"rate": 1.0}, trainer={"max_completion_length": 12})
    trainer.says = lambda number, n: WRONG
    trainer._generate_and_score_completions(batch_of(trainer, [0, 1]))
    assert logged(trainer, "edits/share") == 0


def test_a_failure_leaves_plain_grpo_and_is_counted(start, tmp_path, monkeypatch):
    from recipes import credit_trainer

    def broken(*args: Any) -> list:
        raise RuntimeError("broken")

    monkeypatch.setattr(credit_trainer, "corrections", broken)
    monkeypatch.setattr(credit_trainer, "claim_spans", broken)
    trainer = build(tmp_path, start, edits={"rate": 1.0}, claim_weight=3.0, prompts_={"refill": 2})
    monkeypatch.setattr(trainer, "_rows_of", broken)
    trainer.says = lambda number, n: RIGHT if number == 0 and n else WRONG
    output = trainer._generate_and_score_completions(batch_of(trainer, [0, 1]))
    assert output["advantages"].abs().max() > 0.1
    assert logged(trainer, "edits/failed") == 8 and logged(trainer, "claim_weight/failed") == 8
    assert logged(trainer, "refill/failed") == 1 and logged(trainer, "refill/groups") == 0


def test_groups_without_spread_are_filled_with_other_prompts(start, tmp_path):
    trainer = build(tmp_path, start, prompts=3, rows=12, prompts_={"refill": 3, "informative": 0.5})
    mixed = lambda number, n: RIGHT if n else WRONG  # noqa: E731
    trainer.says = lambda number, n: mixed(number, n) if number == 1 or (number % 2 == 0 and number > 3) else WRONG
    inputs = batch_of(trainer, [0, 1, 2])
    output = trainer._generate_and_score_completions(inputs)
    first, *extra = trainer.asked
    assert first == [0] * SIZE + [1] * SIZE + [2] * SIZE
    assert 1 <= len(extra) <= 3 and not {0, 1, 2} & {number for asked in extra for number in asked}
    rows = written(tmp_path)
    ids = [int(row["id"].split("-")[1]) for row in rows]
    assert ids[SIZE : 2 * SIZE] == [1] * SIZE, "what has spread stays"
    filled = [ids[n] for n in (0, 2 * SIZE) if ids[n] not in (0, 2)]
    assert filled and all(number % 2 == 0 and number > 3 for number in filled)
    assert [row["refilled"] for row in rows] == [number not in (0, 1, 2) for number in ids]
    assert [f"What is there? {number}" for number in ids] == [row["question"] for row in rows]
    assert [row["images"][0].endswith(f"/{number}.png") for row, number in zip(rows, ids, strict=True)] == [True] * 12
    assert logged(trainer, "refill/flat") == pytest.approx(2 / 3)
    assert logged(trainer, "refill/groups") == len(filled)
    assert logged(trainer, "refill/extra_completions") == sum(map(len, extra))
    assert (output["advantages"].view(3, SIZE).abs().amax(1) > 0.1).sum() == 1 + len(filled)
    seen = dict(trainer.prompts._seen[0])
    assert seen.keys() >= {0, 1, 2} and seen[0] == seen[2] == 0 < seen[1]
    # The pictures are those of the prompts that are trained on, in order.
    again = build(tmp_path / "again", start, prompts=3, rows=12)
    again.says = trainer.says
    same = again._generate_and_score_completions(batch_of(again, ids[::SIZE]))
    for name in ("prompt_ids", "pixel_values", "completion_ids", "advantages"):
        assert torch.equal(output[name], same[name])


def test_the_rounds_of_refilling_are_bounded(start, tmp_path):
    trainer = build(tmp_path, start, prompts=2, rows=40, prompts_={"refill": 2})
    trainer.says = lambda number, n: WRONG
    output = trainer._generate_and_score_completions(batch_of(trainer, [0, 1]))
    assert [len(asked) for asked in trainer.asked] == [8, 8, 8] and not output["advantages"].any()
    assert logged(trainer, "refill/extra_completions") == 16 and logged(trainer, "refill/groups") == 0
    few = build(tmp_path, start, prompts=2, rows=3, prompts_={"refill": 5})
    few.says = trainer.says
    few._generate_and_score_completions(batch_of(few, [0, 1]))
    assert [len(asked) for asked in few.asked] == [8, 4], "there is one other prompt"


def test_a_corrected_group_has_spread_and_is_not_replaced(start, tmp_path):
    trainer = build(tmp_path, start, edits={"rate": 1.0}, prompts_={"refill": 2})
    trainer.says = lambda number, n: WRONG
    output = trainer._generate_and_score_completions(batch_of(trainer, [0, 1]))
    assert len(trainer.asked) == 1 and (output["advantages"].view(2, SIZE).abs().amax(1) > 1).all()


def test_what_was_earned_is_observed_and_steers_the_next_prompts(start, tmp_path):
    trainer = build(tmp_path, start, prompts_={"informative": 0.9})
    assert trainer._get_train_sampler() is trainer.prompts
    trainer.says = lambda number, n: RIGHT if number and n else WRONG
    trainer._generate_and_score_completions(batch_of(trainer, [0, 1]))
    trainer.state.global_step = 1
    trainer._generate_and_score_completions(batch_of(trainer, [2, 3]))
    assert {n: [index for index, _ in seen] for n, seen in trainer.prompts._seen.items()} == {0: [0, 1], 1: [2, 3]}
    weights = trainer.prompts.weights(3, 1)
    assert weights[0] < 0.2 * weights[1]
    assert logged(trainer, "prompts/flat") == pytest.approx(1 / 4) and logged(trainer, "prompts/open") == 1
    trainer.model.eval()
    trainer._generate_and_score_completions(batch_of(trainer, [4])[: trainer.num_generations_eval])
    assert 4 not in dict(trainer.prompts._seen[1]), "evaluation teaches nothing"


def test_plain_prompts_leave_the_sampler_to_trl(start, tmp_path):
    from trl.trainer.utils import RepeatSampler

    assert isinstance(build(tmp_path, start, prompts_={"refill": 1})._get_train_sampler(), RepeatSampler)


def test_importance_ratios_are_clipped_or_masked_by_token_or_sequence():
    """exp(log pi - log mu) in each of TRL's modes, of two completions of three tokens: one is not counted, of one vLLM
    gave no probability."""
    from reasoner.compat.trl import HookedTrainer

    noted = []
    trainer = SimpleNamespace(_note_importance=lambda gaps, ratios: noted.append((gaps.tolist(), ratios.tolist())))
    batch = {
        "completion_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
        "sampling_per_token_logps": torch.tensor([[-1.0, -1.0, torch.nan], [-1.0, -1.0, -1.0]]),
    }
    logps = torch.log(torch.tensor([[2.0, 0.5, 9.0], [4.0, 1.0, 9.0]])) - 1
    wanted = {
        "token_truncate": [[2.0, 0.8, 1.0], [3.0, 1.0, 1.0]],
        "token_mask": [[2.0, 0.0, 1.0], [0.0, 1.0, 1.0]],
        "sequence_truncate": [[1.0], [3.0]],
        "sequence_mask": [[1.0], [0.0]],
    }
    for mode, ratios in wanted.items():
        trainer.vllm_importance_sampling_mode = mode
        trainer.vllm_importance_sampling_clip_min, trainer.vllm_importance_sampling_clip_max = 0.8, 3.0
        assert HookedTrainer._importance(trainer, logps, batch).tolist() == [pytest.approx(row) for row in ratios], mode
    gaps, counted = noted[0]
    assert gaps == pytest.approx([0.6931, 0.6931, 1.3863, 0.0], abs=1e-4)
    assert counted == pytest.approx([2.0, 0.8, 1.0, 3.0, 1.0])
    trainer.vllm_importance_sampling_clip_min = trainer.vllm_importance_sampling_clip_max = None
    assert HookedTrainer._importance(trainer, logps, batch).tolist() == [pytest.approx([1.0]), pytest.approx([4.0])]


def test_groups_that_are_spread_over_processes_are_refused(monkeypatch):
    from trl import GRPOConfig

    from reasoner.errors import UserError
    from recipes import grpo
    from recipes.load import load_recipe

    monkeypatch.setattr(GRPOConfig, "world_size", 2)
    halves = ["grpo.trainer.per_device_train_batch_size=4", "grpo.trainer.num_generations=8"]
    grpo.check(load_recipe("phantom", halves))
    for setting in ("grpo.edits.rate=0.5", "grpo.prompts.refill=1"):
        with pytest.raises(UserError, match="whole groups in each process: make 4 completions"):
            grpo.check(load_recipe("phantom", [*halves, setting]))


@pytest.mark.slow
def test_two_processes_refill_and_correct_their_own_groups(start, tmp_path):
    import os
    import subprocess
    import sys

    from reasoner.runtime.ranks import free_port

    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "1"}
    examples(tmp_path, 20)  # the pictures
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.recipes.test_credit_trainer", str(tmp_path), str(start)],
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=180)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    one, other = (json.loads((tmp_path / f"rank{rank}.json").read_text(encoding="utf-8")) for rank in range(2))
    assert one["ids"][:SIZE] == ["row-0"] * SIZE and one["ids"][SIZE] != "row-1", "its flat group is replaced"
    assert other["ids"] == ["row-2"] * SIZE + ["row-3"] * SIZE, "it has none, and generates along"
    assert one["asked"][1:] == [SIZE] * (len(one["asked"]) - 1) == other["asked"][1:]
    assert one["seen"] == other["seen"] and {0, 1, 2, 3} <= {index for index, _ in one["seen"]}


def _one_process(folder: Path, start: Path) -> None:
    from accelerate import PartialState

    rank = PartialState(cpu=True).process_index
    trainer = build(folder, start, rows=20, prompts_={"refill": 3, "informative": 0.5})
    trainer.says = lambda number, n: WRONG if number == 1 or not n else RIGHT
    trainer._generate_and_score_completions(batch_of(trainer, [[0, 1], [2, 3]][rank]))
    seen = {
        "ids": [row["id"] for row in trainer._rows],
        "asked": [len(asked) for asked in trainer.asked],
        "seen": trainer.prompts._seen[0],
    }
    (folder / f"rank{rank}.json").write_text(json.dumps(seen), encoding="utf-8")
    PartialState().wait_for_everyone()
    PartialState().destroy_process_group()


if __name__ == "__main__":
    import sys

    _one_process(Path(sys.argv[1]), Path(sys.argv[2]))
