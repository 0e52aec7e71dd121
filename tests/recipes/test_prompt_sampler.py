"""Prompts by variety, by what they still teach, and from easy to hard; the same again from a checkpoint."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from reasoner.schema import Example
from recipes.config import Prompts
from recipes.prompt_facts import cells, facts_of
from recipes.prompt_sampler import START, STATE, PromptSampler


def example(number: int, task: str = "abnormality_list", answer: str = "No Finding", **more) -> Example:
    values = {"question": "Which abnormalities are present?", "reasoning": "The lungs are clear."} | more
    return Example(id=f"{task}-{number}", study_id=f"{number}", task=task, answer=answer, **values)


def sampler(examples, prompts: int = 8, **more) -> PromptSampler:
    constructed = {
        key: more.pop(key) for key in ("generations", "repeats", "ahead", "seed", "steps_per_batch") if key in more
    }
    return PromptSampler(facts_of(examples), Prompts(**more), prompts=prompts, **constructed)


def share_of(drawn, examples, answer: str) -> float:
    return np.mean([examples[index].answer == answer for index in drawn])


MIXED = [example(n, answer="Fracture" if n < 20 else "No Finding") for n in range(400)]


def many(ours: PromptSampler, batches: int = 100) -> list[int]:
    return [index for number in range(batches) for index in ours.draw(number)]


def test_the_order_is_that_of_trls_sampler():
    from trl.trainer.utils import RepeatSampler

    ours = sampler(MIXED, prompts=4, generations=3, repeats=2, balance=1.0)
    theirs = RepeatSampler(MIXED, mini_repeat_count=3, batch_size=4, repeat_count=2)
    assert len(ours) == len(theirs)
    for order in (list(ours), list(theirs)):
        assert len(order) == len(ours)
        for start in range(0, 240, 24):
            chunk = order[start : start + 24]
            assert chunk[:12] == chunk[12:] and len(set(chunk)) == 4
            assert all(len(set(chunk[n : n + 3])) == 1 for n in range(0, 24, 3))


@pytest.mark.parametrize(("balance", "low", "high"), [(0.0, 0.03, 0.08), (0.5, 0.12, 0.25), (1.0, 0.35, 0.55)])
def test_rare_answers_are_drawn_as_far_as_the_balance_says(balance, low, high):
    assert low < share_of(many(sampler(MIXED, balance=balance)), MIXED, "Fracture") < high


def test_each_task_keeps_its_share():
    examples = [example(n, "binary", "Yes" if n % 2 else "No") for n in range(100)] + MIXED[:300]
    drawn = many(sampler(examples, balance=1.0))
    assert 0.2 < np.mean([examples[index].task == "binary" for index in drawn]) < 0.3


def test_cells_are_names_of_findings_not_letters_or_prose():
    options = ("A) Edema", "B) Fracture")
    assert cells(example(0, "multiple", "A, B", options=options)) == (
        ("multiple", (), "Edema"),
        ("multiple", (), "Fracture"),
    )
    layouts = (["A) Edema", "B) Nodule"], ["A. Edema", "B. Nodule"], ["Edema", "Nodule"])
    assert {cells(example(0, "single", "A", options=tuple(each))) for each in layouts} == {(("single", (), "Edema"),)}
    one, other = (cells(example(0, "binary", "Yes", question=f"Is there a {what}?")) for what in ("fracture", "nodule"))
    assert one != other
    prose = [cells(example(0, "stage", text, stage=3)) for text in ("The heart is large.", "It is not.")]
    assert prose[0] == prose[1] == (("stage", 3),)


def test_what_is_always_right_or_wrong_is_drawn_less_but_never_starves():
    examples = [example(n) for n in range(100)]  # one cell: each prompt counts by its own
    ours = sampler(examples, informative=0.9)
    for number in range(4):
        ours.observe(number, [(n, 0.0 if n < 50 else 0.4) for n in range(100)])
    drawn = Counter(index < 50 for n in range(6, 206) for index in ours.draw(n))
    assert 0.02 < drawn[True] / drawn.total() < 0.12
    early = Counter(index < 50 for n in range(50) for index in sampler(examples, informative=0.9).draw(n))
    assert 0.4 < early[True] / early.total() < 0.6, "what nobody has seen is drawn evenly"


def test_prompts_never_seen_are_judged_by_others_with_their_answer():
    ours = sampler(MIXED, informative=0.9)
    ours.observe(0, [(n, 0.5) for n in range(10)] + [(n, 0.0) for n in range(20, 60)])
    weights = ours.weights(5, 5)
    assert weights[15] > 3 * weights[300], "unseen fracture beside unseen normal"


def test_only_batches_far_enough_back_count():
    ours = sampler(MIXED, informative=0.9, ahead=1)
    before = ours.draw(7)
    ours.observe(6, [(n, n % 2 / 2) for n in range(400)])
    assert ours.draw(7) == before, "batch 7 was drawn before 6 was trained on"
    assert ours.draw(8) != sampler(MIXED, informative=0.9, ahead=1).draw(8)


def test_a_curriculum_goes_from_closed_to_open():
    examples = [example(n, task) for task in ("abnormality_list", "binary", "multiple", "single") for n in range(100)]
    ours = sampler(examples, curriculum=["task"], curriculum_steps=100)
    tasks = [Counter(examples[index].task for index in ours.draw(number)) for number in range(101)]
    assert set(sum(tasks[:6], Counter())) == {"binary"}
    assert set(sum(tasks[30:40], Counter())) == {"binary", "single"}
    assert "abnormality_list" not in sum(tasks[:68], Counter()) and "abnormality_list" in sum(tasks[80:], Counter())
    assert ours.openness(0) == START and ours.openness(100) == ours.openness(10_000) == 1.0


def test_a_curriculum_by_length_within_tasks():
    examples = [
        example(n, task, reasoning="Clear. " * (1 + n % 50)) for task in ("single", "binary") for n in range(100)
    ]
    ours = sampler(examples, curriculum=["task", "length"], curriculum_steps=100)
    first = [examples[index] for number in range(5) for index in ours.draw(number)]
    assert {one.task for one in first} == {"binary"} and max(len(one.reasoning.split()) for one in first) < 25
    assert sampler(examples, curriculum=["length"]).draw(0) != ours.draw(0)


def test_a_curriculum_by_stage_begins_with_the_last_alone():
    examples = [example(n, "stage", stage=1 + n % 8) for n in range(400)]
    ours = sampler(examples, curriculum=["stage"], curriculum_steps=100)
    stages = [{examples[index].stage for index in ours.draw(number)} for number in range(201)]
    assert ours.openness(0) == 1 / 8 and stages[0] == {8} and set().union(*stages[1:25]) <= {6, 7, 8}
    assert set().union(*stages[100:]) == set(range(1, 9))


def test_batches_that_serve_several_steps_open_the_curriculum_faster():
    fast = sampler(MIXED, curriculum=["task"], curriculum_steps=100, steps_per_batch=4.0)
    assert fast.openness(10) == sampler(MIXED, curriculum=["task"], curriculum_steps=100).openness(40)


ALL = {"balance": 0.5, "informative": 0.8, "curriculum": ["length"], "curriculum_steps": 40}


def run(ours: PromptSampler, batches: range, ahead: int = 1) -> list[list[int]]:
    """Draws as a data loader does that is `ahead` of the training, which observes what it drew."""
    drawn = {number: ours.draw(number) for number in range(batches.start, batches.start + ahead)}
    for number in batches:
        drawn[number + ahead] = ours.draw(number + ahead)
        ours.observe(number, [(index, (index * 7 % 10) / 10) for index in drawn[number]])
    return [drawn[number] for number in batches]


@pytest.mark.parametrize("ahead", [1, 3])
def test_a_resumed_run_draws_what_the_whole_one_draws(tmp_path, ahead):
    whole, half = sampler(MIXED, ahead=ahead, **ALL), sampler(MIXED, ahead=ahead, **ALL)
    everything = run(whole, range(60), ahead)
    assert run(half, range(30), ahead) == everything[:30]
    half.save(tmp_path)
    resumed = sampler(MIXED, ahead=ahead, **ALL)
    resumed.load(tmp_path)
    for number in range(30):  # the trainer skips these, drawing them
        resumed.draw(number)
    assert run(resumed, range(30, 60), ahead) == everything[30:]
    assert run(sampler(MIXED, ahead=ahead, seed=1, **ALL), range(60), ahead) != everything


def test_a_checkpoint_knows_its_epoch(tmp_path):
    ours = sampler(MIXED[:40], informative=0.5)  # 5 batches an epoch
    for number in range(7):
        ours.observe(number, [(number, 0.1)])
    ours.save(tmp_path)
    resumed = sampler(MIXED[:40], informative=0.5)
    resumed.load(tmp_path)
    assert resumed.epoch == 1
    assert list(resumed)[:8] == resumed.draw(5)


@pytest.mark.parametrize("text", [None, "{", '{"a": 1}', '{"0": [[1]]}', "[]"])
def test_a_checkpoint_without_our_state_starts_anew(tmp_path, capsys, text):
    if text is not None:
        (tmp_path / STATE).write_text(text, encoding="utf-8")
    ours = sampler(MIXED, informative=0.5)
    ours.load(tmp_path)
    assert ours.draw(0) == sampler(MIXED, informative=0.5).draw(0)
    assert "learned anew" in capsys.readouterr().err


def test_spare_prompts_are_others_and_each_process_has_its_own():
    ours = sampler(MIXED[:20], prompts=4)
    taken = set(ours.draw(3))
    one, other = (ours.spare(3, 0, process, 6, taken) for process in (0, 1))
    assert not taken & {*one, *other} and one != other and len(set(one)) == 6
    assert one == ours.spare(3, 0, 0, 6, taken) != ours.spare(3, 1, 0, 6, taken)
    assert len(ours.spare(3, 0, 0, 100, taken)) == 16, "no more than there are"
    assert ours.spare(3, 0, 0, 5, range(20)) == []


def test_too_few_prompts_for_one_batch_give_no_batch_as_trls_sampler_does():
    assert list(sampler(MIXED[:5], prompts=8, balance=1.0)) == []
