"""RadEval as judge, on a real Ray without GPUs. The package is a stand-in with the real one's calls (RadEval 2.2.1),
and its metric is the F1 of the words of two texts."""

from __future__ import annotations

import time

import pytest
import ray

from reasoner.errors import UserError
from reasoner.prompts import format_completion
from rewards.judges import Case, RadEvalJudge
from rewards.judges.radeval import METRICS, NAMESPACE, f1
from rewards.registry import RewardSet
from rewards.workers import RewardPool

pytestmark = pytest.mark.slow

PACKAGE = """
import os, pathlib, time

CALLS = pathlib.Path(__file__).parents[1] / "calls"


class RadEval:
    def __init__(self, metrics=None, openai_api_key=None, gemini_api_key=None, per_sample=False, detailed=False,
                 show_progress=True, cache_dir=None):
        assert per_sample and not detailed and not show_progress
        (self.metric,) = metrics
        if self.metric == "green":
            raise OSError("no weights of GREEN")
        if self.metric == "radgraph":
            import RadEval.graph  # as 2.2.1 does, by the package's former name
        self.f1chexbert_scorer = self

    def get_labels(self, reports, mode="rrg", on_batch_done=None):
        return [[int(word in text) for word in ("edema", "effusion", "fracture")] for text in reports]

    def __call__(self, refs, hyps):
        if not (isinstance(hyps, list) and isinstance(refs, list)):
            raise TypeError("hyps and refs must be of type list")
        with CALLS.open("a") as calls:
            calls.write(f"{os.getpid()} {len(refs)}\\n")
        if any("raise" in text for text in hyps):
            raise ValueError("cannot read this")
        if any("hang" in text for text in hyps):
            time.sleep(3600)
        values = [overlap(set(a.split()), set(b.split())) for a, b in zip(refs, hyps, strict=True)]
        if self.metric == "radgraph":
            return {"radgraph_simple": [0.5] * len(refs), "radgraph_partial": values}
        if self.metric == "bleu":
            return {"bleu": [None if "odd" in text else value for text, value in zip(hyps, values)]}
        return {"rouge1": [0.5] * len(refs), "rouge2": [0.5] * len(refs), "rougeL": values}


def overlap(a, b):
    return 2 * len(a & b) / (len(a) + len(b))
"""
REFERENCE, REPORT = "the heart is large", "there is a small effusion and the heart is large"


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """Where the stand-in notes its calls; a Ray whose processes find it."""
    folder = tmp_path_factory.mktemp("path")
    (folder / "radeval").mkdir()
    (folder / "radeval" / "__init__.py").write_text(PACKAGE, encoding="utf-8")
    (folder / "radeval" / "graph.py").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=":")
        ray.init(
            address="local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
        )
        yield folder / "calls"
        ray.shutdown()


def options(**settings) -> dict:
    return {"process": {"judge": {"kind": "radeval", "metric": "rouge", "gpus": 0, "timeout_s": 30.0, **settings}}}


def row(text: str) -> dict:
    return {"id": "a", "completion": format_completion(text, "x"), "reasoning": REFERENCE, "report": REPORT}


def overlap(one: str, other: str) -> float:
    a, b = set(one.split()), set(other.split())
    return 2 * len(a & b) / (len(a) + len(b))


def test_workers_share_one_actor_and_get_their_chunks_values_in_order(calls):
    texts = [f"the heart is large says reader {number}" for number in range(12)] + ["the heart", "an effusion"]
    with RewardPool({"process": 1.0}, workers=2, options=options()) as pool:
        scores = [s["process"] for s in pool.score([row(text) for text in texts])]
    for text, score in zip(texts, scores, strict=True):
        parts = {"rougeL_reference": overlap(text, REFERENCE), "rougeL_report": overlap(text, REPORT)}
        assert score.parts == pytest.approx({**parts, "judge_fallback": 0.0})
        assert score.value == pytest.approx(sum(parts.values()) / 2)
        assert [entry["against"] for entry in score.evidence] == [REFERENCE, REPORT]
        assert {(entry["words"], entry["start"], entry["end"]) for entry in score.evidence} == {(text, 0, len(text))}
    asked = [line.split() for line in calls.read_text(encoding="utf-8").splitlines()]
    assert sorted(int(n) for _, n in asked) == [14, 14], "each worker asks once, about its 7 rows on both sides"
    assert len({process for process, _ in asked}) == 1


def test_it_works_without_a_pool_and_empty_reasoning_earns_nothing(calls):
    rewards = RewardSet.build({"process": 1.0}, options=options())
    assert rewards.score(row(REFERENCE))["process"].parts["rougeL_reference"] == 1.0
    empty = {**row(""), "completion": "<think>\n\n</think>\n<answer>\nx\n</answer>"}
    assert rewards.score(empty)["process"].parts == {
        "rougeL_reference": 0.0,
        "rougeL_report": 0.0,
        "judge_fallback": 0.0,
    }


def test_actors_divide_the_pairs(calls):
    judge = RadEvalJudge("rouge", 0, 2, 30.0)
    cases = [Case(f"the heart {number}", REFERENCE, REPORT) for number in range(5)]
    assert [score.parts["rougeL_report"] for score in judge.score(cases)] == [overlap(c.text, REPORT) for c in cases]
    assert [int(line.split()[1]) for line in calls.read_text(encoding="utf-8").splitlines()[-2:]] == [5, 5]


@pytest.mark.parametrize("text", ["raise the heart", "an odd heart"])
def test_what_the_metric_cannot_measure_falls_back_to_the_rules_and_is_counted(calls, text):
    there = RewardSet.build({"process": 1.0}, options=options(metric="bleu"))
    judge, rules = there.score(row(text))["process"], RewardSet.build({"process": 1.0}).score(row(text))["process"]
    assert judge.value == rules.value and judge.evidence == rules.evidence and judge.parts["judge_fallback"] == 1.0
    assert there.score(row("the heart"))["process"].parts["judge_fallback"] == 0.0


def test_a_call_that_hangs_costs_its_time_limit_and_the_actor_comes_back(calls):
    judge = RadEvalJudge("rouge", 0, 1, 1.0)
    hanging, fine = Case("hang", REFERENCE, REPORT), Case("the heart", REFERENCE, REPORT)
    judge.start()
    start = time.monotonic()
    assert judge.score([hanging]) == [None] and 0.9 < time.monotonic() - start < 20
    deadline = time.monotonic() + 60
    while (score := judge.score([fine])[0]) is None and time.monotonic() < deadline:
        pass
    assert score.parts["rougeL_report"] == overlap(fine.text, REPORT)


def test_radgraph_loads_although_it_imports_by_the_packages_former_name(calls):
    judge, case = RadEvalJudge("radgraph", 0, 1, 30.0), Case("the heart", REFERENCE, REPORT)
    (score,) = judge.score([case])
    assert score.parts["radgraph_partial_report"] == overlap(case.text, REPORT)


def test_chexbert_is_f1_over_labels(calls):
    judge = RadEvalJudge("f1chexbert", 0, 1, 30.0)
    case = Case("edema and effusion", "edema", "effusion")
    assert judge.score([case])[0].value == pytest.approx(2 / 3)
    assert f1([1, 1, 0, 0], [0, 1, 1, 0]) == 0.5 and f1([0, 0], [0, 0]) == 0.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "radgraf"}, "did you mean 'radgraph'"),
        ({"metric": "xyz"}, ", ".join(METRICS)),
        ({"gpus": 1.5}, "option 'judge.gpus': must be from 0 to 1, or whole"),
        ({"actors": 0}, "option 'judge.actors': input should be greater than or equal to 1"),
        ({"gpus": 0.5, "actors": 4}, "needs 2 GPUs .* the Ray cluster has 0"),
        ({"metric": "green"}, "no weights of GREEN"),
    ],
)
def test_what_cannot_work_is_refused_before_a_run(calls, settings, message):
    with pytest.raises(UserError, match=message):
        RewardPool({"process": 1.0}, workers=1, options=options(**settings))
    assert not [a for a in ray.util.list_named_actors(all_namespaces=True) if "green" in a["name"]]


def test_a_missing_package_is_refused_before_a_run(calls):
    package = calls.parent / "radeval"
    hidden = package.rename(calls.parent / "hidden")
    package.with_suffix(".py").write_text(
        """raise ModuleNotFoundError("No module named 'radeval'")""", encoding="utf-8"
    )  # nor a real one
    try:
        with pytest.raises(UserError, match=r"No module named 'radeval'.*pip install .*\[radeval\]"):
            RewardPool({"process": 1.0}, workers=1, options=options(metric="ratescore"))
    finally:
        package.with_suffix(".py").unlink()
        hidden.rename(package)
    assert all(a["namespace"] == NAMESPACE for a in ray.util.list_named_actors(all_namespaces=True))
