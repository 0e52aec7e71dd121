"""Chains written by a language model in three calls (ChestX-Reasoner, arXiv 2504.20930): a plan from the question and
every option, the evidence that the report gives for it, and other words for both.

The model proposes, the verifier decides: a sentence of the plan asserts nothing, a sentence of the evidence says what
the report says, and other words keep the meaning (`refine.py`). What is refused is replaced by the rule-made step, so
that a chain never says less than without a model, whatever the server does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reasoner.findings import ancestors, extract_report, region, split_sentences
from reasoner.llm import Llm, ask
from reasoner.mining.chains import merge
from reasoner.mining.refine import CACHE, numbered, plausible, refine
from reasoner.mining.verify import faults, read, step_faults
from reasoner.schema import Chain, Example, Finding, Step

PLAN = (
    "You plan how a radiologist answers a question about a chest X-ray. Say for the question, and for each of its "
    "options, what must be looked at, as in 'To check for edema, the lungs must be examined.' Do not answer, and do "
    "not say what is or is not there. Do not mention a report, a patient, a date or an earlier image. Answer with "
    "numbered sentences, at most {n}, one a line, and nothing else."
)
EVIDENCE = (
    "You are given a question about a chest X-ray, a plan for answering it and the report. Say what the report says of "
    "each point of the plan, as seen in the image: every finding with its side, place and size, and what it denies. "
    "Add nothing that the report does not say, do not give the answer, and do not mention the report. Answer with "
    "numbered sentences, one a line, and nothing else."
)
#: Sentences that a plan may have, besides one for each option.
PLAN_LINES = 3
#: Sentences that the evidence may have, besides one for each step of the rule-made chain.
EVIDENCE_LINES = 8
#: Words of plans that need not be in the lexicon.
_PLANNING = frozenset(
    re.findall(
        r"\w+",
        """assess check compare confirm decide determine evaluate examine examined exclude first find for how identify
        if inspect judge know last look looked looking must need needs next question read region regions search second
        should then third what when where whether which would""",
    )
)
#: What a plan or evidence must not do: announce the answer.
_ANSWERS = re.compile(r"\banswer is\b|\b(?:option|answer) [A-F]\b", re.IGNORECASE)


def mine_by_calls(examples: Sequence[Example], llm: Llm, folder: Path) -> tuple[list[Example], Counter[str]]:
    """The examples with chains of the model's, as far as the verifier takes them, and what became of each step.

    Counts sentences: `plan_kept`, `plan_refused`, `evidence_kept`, `evidence_refused`, `evidence_by_rule` (the model
    left a finding out or got it wrong); chains: `plan_failed` and `evidence_failed` (no reply), `chain_refused` (the
    sentences were fine one by one and not together); and those of `refine`. Chains without a plan are only reworded.

    Args:
        folder: holds the cache of replies.

    Raises:
        UserError: the server stopped answering.
    """
    counts: Counter[str] = Counter()
    places = [n for n, example in enumerate(examples) if any(step.stage == "plan" for step in example.steps)]
    planned = [examples[n] for n in places]
    replies = ask([plan_request(example, llm.model) for example in planned], llm, folder / CACHE)
    plans = [_plan(example, reply, counts) for example, reply in zip(planned, replies, strict=True)]
    bodies = [evidence_request(example, plan, llm.model) for example, plan in zip(planned, plans, strict=True)]
    found = ask(bodies, llm, folder / CACHE)
    made = list(examples)
    for n, plan, reply in zip(places, plans, found, strict=True):
        made[n] = _rebuilt(made[n], plan, reply, counts)
    refined, outcome = refine(made, llm, folder)
    return refined, counts + outcome


def plan_request(example: Example, model: str) -> dict[str, Any]:
    """The body of the first call: what must be looked at, for the question and every option."""
    lines = PLAN_LINES + len(example.options)
    asked = "\n".join([f"Question: {example.question}", *example.options])
    return _body(model, PLAN.format(n=lines), asked, lines)


def evidence_request(example: Example, plan: Sequence[Step], model: str) -> dict[str, Any]:
    """The body of the second call: what the report says on each point of the plan."""
    points = [step.text for step in plan or example.steps if step.stage == "plan"]
    planned = "\n".join(f"{n}. {text}" for n, text in enumerate(points, 1))
    asked = "\n".join([f"Question: {example.question}", *example.options])
    return _body(
        model, EVIDENCE, f"{asked}\n\nPlan:\n{planned}\n\nReport:\n{example.report}", len(points) + EVIDENCE_LINES
    )


def _body(model: str, system: str, user: str, lines: int) -> dict[str, Any]:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    return {"model": model, "messages": messages, "temperature": 0, "seed": 0, "max_tokens": 32 + 48 * lines}


def _plan(example: Example, reply: str | None, counts: Counter[str]) -> tuple[Step, ...]:
    """The sentences of a plan that assert nothing and give nothing away; empty where none is left."""
    if reply is None:
        counts["plan_failed"] += 1
        return ()
    findings, prior = _findings(example), _prior(example)
    kept: list[Step] = []
    for text in _sentences(reply, PLAN_LINES + len(example.options), counts, "plan"):
        step = Step(text, "plan")
        asserts = read(text) or step_faults(step, findings, example.report, prior=prior)
        fine = not asserts and _worded(text, kept)
        counts["plan_kept" if fine else "plan_refused"] += 1
        if fine:
            kept.append(step)
    return tuple(kept)


def _rebuilt(example: Example, plan: tuple[Step, ...], reply: str | None, counts: Counter[str]) -> Example:
    """The example with the plan and what is kept of the evidence; as it was where they do not go together."""
    if reply is None:
        counts["evidence_failed"] += 1
    own = [step for step in example.steps if step.findings]
    new = _evidence(example, reply, own, counts) if reply is not None else []
    said = {meaning for step in new for meaning in _meanings(step.text)}
    rest = [step for step in own if not _meanings(step.text) <= said]
    counts["evidence_by_rule"] += len(rest)
    stages = [step.stage for step in own]
    middle = sorted([*new, *rest], key=lambda step: stages.index(step.stage))
    planned = plan or [step for step in example.steps if step.stage == "plan"]
    ends = [step for step in example.steps if not step.findings and step.stage != "plan"]
    chain = Chain((*planned, *middle, *ends))
    if faults(chain, _findings(example), example.report, prior=_prior(example)):
        counts["chain_refused"] += 1
        return example
    return replace(example, steps=chain.steps, reasoning=chain.text, gold_findings=chain.findings)


def _evidence(example: Example, reply: str, own: Sequence[Step], counts: Counter[str]) -> list[Step]:
    """The sentences of the evidence that say what the report says, in the regions that the question is about; of what
    the rule-made chain says all of it or nothing."""
    findings, prior = _findings(example), _prior(example)
    meant = {meaning for step in own for meaning in _meanings(step.text)}
    concepts = {meaning[0] for meaning in meant}
    told = {(f.concept, f.change) for f in (*findings, *(f for step in own for f in step.findings))}
    stages = {step.stage for step in own}
    kept: list[Step] = []
    for text in _sentences(reply, len(own) + EVIDENCE_LINES, counts, "evidence"):
        about = tuple(_meant(text, findings))
        step = Step(text, _stage(about, own), about, about[0].evidence if about else None)
        fine = (
            step.stage in stages
            and _worded(text, kept)
            and all(meaning in meant or meaning[0] not in concepts for meaning in _meanings(text))
            and all(heard.change is None or (heard.concept, heard.change) in told for heard in read(text))
            and not step_faults(step, findings, example.report, prior=prior)
        )
        counts["evidence_kept" if fine else "evidence_refused"] += 1
        if fine:
            kept.append(step)
    return kept


def _worded(text: str, before: Sequence[Step]) -> bool:
    """Whether a sentence is one, in known words, not said before, and does not announce the answer."""
    return plausible(text, _PLANNING) and not _ANSWERS.search(text) and text not in {step.text for step in before}


def _meant(text: str, findings: Sequence[Finding]) -> Iterator[Finding]:
    """The report's findings that a sentence speaks of; a denial that the report does not make rests on its silence."""
    for heard in read(text):
        same = [f for f in findings if f.concept == heard.concept and f.status == heard.status]
        near = [f for f in same if heard.laterality in (None, f.laterality)] or same
        if not near and heard.status != "absent":
            near = [f for f in findings if f.status == heard.status and heard.concept in ancestors(f.concept)]
        if near:
            yield replace(near[0], change=heard.change and near[0].change)
        elif heard.status == "absent":
            yield Finding(heard.concept, "absent")


def _stage(about: Sequence[Finding], own: Sequence[Step]) -> str:
    """That of the rule-made step about the same finding, else the finding's region."""
    for step in own:
        if about and any(f.concept == about[0].concept for f in step.findings):
            return step.stage
    return region(about[0].concept) if about else ""


def _meanings(text: str) -> set[tuple[str | None, ...]]:
    """What a sentence says, with sides, places and degrees; the concept comes first."""
    return {(f.concept, f.status, f.laterality, f.location, f.severity, f.change) for f in read(text)}


def _sentences(reply: str, most: int, counts: Counter[str], kind: str) -> list[str]:
    """The sentences of the numbered lines of a reply, at most so many; others, and other lines, are refused."""
    lines = numbered(reply)
    texts = [line[start:end] for line in lines if line for start, end in split_sentences(line)]
    counts[f"{kind}_refused"] += lines.count(None) + max(len(texts) - most, 0)
    return texts[:most]


def _findings(example: Example) -> list[Finding]:
    return merge(extract_report(example.report))


def _prior(example: Example) -> bool:
    """Whether the chain may speak of change: an earlier image is shown."""
    return any(finding.change for step in example.steps for finding in step.findings)
