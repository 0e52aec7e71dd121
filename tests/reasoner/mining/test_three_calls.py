"""Chains in three calls: what a server says that is true enters, whatever else it says does not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reasoner.errors import UserError
from reasoner.findings import extract_report, labels_of
from reasoner.llm import Llm
from reasoner.mining.chains import merge
from reasoner.mining.drafts import Design
from reasoner.mining.pipeline.run import mine
from reasoner.mining.questions import Read, build_examples
from reasoner.mining.three_calls import evidence_request, mine_by_calls, plan_request
from reasoner.mining.verify import faults
from reasoner.schema import Chain, Example, Study
from reasoner.sources import open_source

REPORT = (
    "FINDINGS: Small left pleural effusion. No pneumothorax. The heart is mildly enlarged. No fracture. "
    "Right lower lobe opacity."
)
TASKS = {"single": 2.0, "binary": 3.0}
Serve = Callable[[Callable[[str, int], tuple[int, str]]], Any]
PLAN = ("To check for pleural fluid, the pleural spaces must be examined.", "The size of the heart must be judged.")


def rows(report: str = REPORT, tasks: dict[str, float] = TASKS, **fields: Any) -> list[Example]:
    findings = extract_report(report)
    one = Study("s", "s", report, **({"images": ("a",)} | fields))
    read = Read(one, tuple(merge(findings)), labels_of(findings), "question", 0, Design("level", "reports"))
    return [row for row in build_examples(read, tasks) if isinstance(row, Example)]


def call(prompt: str) -> str:
    return "evidence" if "\nReport:\n" in prompt else "plan" if prompt.startswith("Question:") else "reword"


def numbered(*sentences: str) -> str:
    return "\n".join(f"{n}. {text}" for n, text in enumerate(sentences, 1))


def reply(prompt: str, plan: str = "", evidence: str = "") -> tuple[int, str]:
    """A server with these replies to the first two calls, which leaves the words as they are in the third."""
    return 200, {"plan": plan, "evidence": evidence, "reword": prompt}[call(prompt)]


def run(
    folder: Path, serve: Serve, examples: list[Example], **replies: str
) -> tuple[list[Example], dict[str, int], Any]:
    web = serve(lambda prompt, number: reply(prompt, **replies))
    made, counts = mine_by_calls(examples, Llm(web.url, "model", retries=0, backoff_s=0.01), folder)
    for row in made:
        assert faults(Chain(row.steps), merge(extract_report(row.report)), row.report) == []
        assert row.reasoning == Chain(row.steps).text and row.gold_findings == Chain(row.steps).findings
    return made, dict(counts), web


def test_the_first_call_has_every_option_and_the_second_plan_and_report() -> None:
    row = next(row for row in rows() if row.options)
    asked = plan_request(row, "m")["messages"][1]["content"]
    assert row.question in asked and all(option in asked for option in row.options) and row.report not in asked
    body = evidence_request(row, (), "m")["messages"][1]["content"]
    assert row.report in body and row.steps[0].text in body


def test_a_good_server_writes_plan_and_evidence(tmp_path: Path, openai_server: Serve) -> None:
    examples = [row for row in rows() if any("effusion" in step.text for step in row.steps)]
    said = "A small pleural effusion is visible on the left."
    made, counts, web = run(tmp_path, openai_server, examples, plan=numbered(*PLAN), evidence=numbered(said))
    assert examples and web.asked == len({row.question + str(row.options) for row in examples}) * 2 + counts["accepted"]
    for old, new in zip(examples, made, strict=True):
        assert [step.text for step in new.steps if step.stage == "plan"] == list(PLAN)
        (step,) = [step for step in new.steps if step.text == said]
        assert step.evidence and REPORT[step.evidence.start : step.evidence.end].endswith("left pleural effusion")
        assert new.steps[-1] == old.steps[-1] and new.answer == old.answer, "the conclusion is the rule-made one"
        assert sum("effusion" in s.text for s in new.steps) == 1, "said once, not also by rule"
    assert counts["plan_kept"] == 2 * len(examples) and counts["evidence_kept"] == len(examples)


@pytest.mark.parametrize(
    "said",
    [
        "A small pleural effusion is visible on the right.",
        "A large pleural effusion is visible on the left.",
        "There is a pneumothorax.",
        "No pleural effusion is visible.",
        "The effusion has increased since the prior image.",
        "The report describes a small left pleural effusion.",
        "The answer is B.",
        "A pleural effusion is visible.",
        "Fnord gloop small left pleural effusion zq blarg mumble grok plugh wibble.",
        "",
    ],
)
def test_what_the_report_does_not_say_is_refused(tmp_path: Path, openai_server: Serve, said: str) -> None:
    examples = [row for row in rows() if any("effusion" in step.text for step in row.steps)]
    made, counts, _ = run(tmp_path, openai_server, examples, plan="", evidence=numbered(said) if said else "Sure!")
    assert made == examples and counts["evidence_refused"] >= len(examples) and "evidence_kept" not in counts
    assert counts["evidence_by_rule"] == sum(bool(step.findings) for row in examples for step in row.steps)


@pytest.mark.parametrize(
    "text",
    [
        "There is a small left pleural effusion.",
        "There is no pneumothorax, so I look at the heart.",
        "The answer is B, so the heart must be examined.",
        "The history says what to look for.",
        "Look",
        "fnord gloop blarg zq wibble mumble grok plugh.",
    ],
)
def test_a_plan_asserts_nothing(tmp_path: Path, openai_server: Serve, text: str) -> None:
    examples = rows()
    made, counts, _ = run(tmp_path, openai_server, examples, plan=numbered(text), evidence="")
    assert made == examples and counts["plan_refused"] == len(examples) and "plan_kept" not in counts


def test_a_server_that_refuses_leaves_the_rule_made_chains(tmp_path: Path, openai_server: Serve) -> None:
    examples = rows()
    web = openai_server(lambda prompt, number: (400, ""))
    made, counts = mine_by_calls(examples, Llm(web.url, "model", retries=0, backoff_s=0.01), tmp_path)
    n = len(examples)
    assert made == examples
    assert (counts["plan_failed"], counts["evidence_failed"], counts["failed"]) == (n, n, n)


def test_replies_are_cached(tmp_path: Path, openai_server: Serve) -> None:
    examples = rows()
    web = openai_server(
        lambda prompt, number: reply(prompt, numbered(*PLAN), numbered("The heart is mildly enlarged."))
    )
    chosen = Llm(web.url, "model", retries=0, backoff_s=0.01)
    first = mine_by_calls(examples, chosen, tmp_path)
    asked = web.asked
    assert mine_by_calls(examples, chosen, tmp_path) == first and web.asked == asked


def test_change_is_what_the_two_reports_tell(tmp_path: Path, openai_server: Serve) -> None:
    prior = "FINDINGS: Large left pleural effusion."
    examples = rows(tasks={"temporal": 1.0}, prior_report=prior, prior_images=("p",))
    assert [row.answer for row in examples] == ["improving"]
    for said, kept in (
        ("The left pleural effusion has decreased.", 1),
        ("The left pleural effusion has increased.", 0),
    ):
        web = openai_server(lambda prompt, number, said=said: reply(prompt, "", numbered(said)))  # type: ignore[misc]
        made, counts = mine_by_calls(examples, Llm(web.url, said, retries=0), tmp_path)
        assert counts.get("evidence_kept", 0) == kept and (said in made[0].reasoning) == bool(kept)


def test_a_run_counts_what_became_of_each_sentence(tmp_path: Path, openai_server: Serve) -> None:
    row = {"study_id": "s", "report": REPORT, "split": "train"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")

    def answer(prompt: str, number: int) -> tuple[int, str]:
        named = re.findall(r"[A-Z][^.]*\.", prompt.partition("\nReport:\n")[2])
        return reply(prompt, numbered(*PLAN), numbered(*(named or ["x"]), "There is a large right pneumothorax."))

    source = open_source("jsonl", str(tmp_path / "rows.jsonl"), tmp_path / "out")
    chosen = Llm(openai_server(answer).url, "model", backoff_s=0.01)
    settings: dict[str, Any] = {"tasks": TASKS, "llm": chosen, "llm_calls": "three", "workers": 0}
    summary = mine(source, tmp_path / "out", style="question", **settings)
    counts, n = summary["refined"], sum(sum(splits.values()) for splits in summary["examples"].values())
    assert summary["llm_calls"] == "three" and n > 2
    assert counts["plan_kept"] == 2 * n and counts["evidence_kept"] and counts["evidence_refused"] >= n
    with pytest.raises(UserError, match=r"data.llm_calls: three plans a chain, data.style must be question or brief"):
        mine(source, tmp_path / "out", style="systematic", **settings)
    with pytest.raises(UserError, match=r"llm_calls 'four' is unknown"):
        mine(source, tmp_path / "out", style="question", **{**settings, "llm_calls": "four"})
