"""Does each part of RadRScore move as it should? Controlled edits, probes and discrimination on real reports.

    python -m benchmarks.reward_edits [--reports indiana_reports.csv] [--gold gold_dev.csv] [--limit 300]

A faithful reading of a report is mined from it (style concise). One edit at a time; an edit is right if the parts it
must lower fall by more than 0.001, and the parts it must not touch move by no more than 0.02 (0.05 for rewordings).
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import DATA
from reasoner.findings import extract_report
from reasoner.findings.lexicon import ancestors
from reasoner.mining.chains import build_chain, merge
from reasoner.mining.wording import noun
from reasoner.schema import CLASSES, NO_FINDING, Chain, Step
from rewards.radrscore import PARTS, radrscore

F, C, E = PARTS
FALL, STAY, REWORDED = 0.001, 0.02, 0.05
NAMES = {name: name.lower() for name in CLASSES if name != NO_FINDING} | {
    "Enlarged Cardiomediastinum": "mediastinal widening", "Pleural Other": "pleural thickening",
    "Edema": "pulmonary edema", "Support Devices": "support device",
}  # fmt: skip
PLANS = (
    "Next, we need to evaluate the costophrenic angles for blunting.",
    "Pneumonia would typically appear as a focal consolidation.",
    "To determine whether there is a fracture, we look for cortical breaks.",
)


class Edit(NamedTuple):
    """The edited reading, the parts that must fall, and those that must stay within `tolerance`."""

    text: str
    fall: tuple[str, ...]
    stay: tuple[str, ...]
    tolerance: float = STAY


def _join(steps: Sequence[str]) -> str:
    return " ".join(steps)


def _swap(steps: list[str], at: int, new: str) -> str:
    return _join([*steps[:at], new, *steps[at + 1 :]])


def _reworded(step: str) -> str:
    """The same claim in another frame."""
    for old, new in (
        ("There is no ", "There is no evidence of "), ("There are no ", "There is no evidence of "),
        ("No ", "There is no "),
        (" is present.", " is noted."), (" is seen.", " is identified."), (" are seen.", " are identified."),
        ("There is ", "The film shows "), ("There are ", "The film shows "),
    ):  # fmt: skip
        if (old[0] == " " and step.endswith(old)) or (old[0] != " " and step.startswith(old)):
            return step.replace(old, new, 1)
    return step


def edits(chain: Chain, rng: random.Random) -> Iterator[tuple[str, Edit]]:
    """Every kind of edit that the reading allows, once each."""
    texts = [step.text for step in chain.steps]
    single = [i for i, s in enumerate(chain.steps) if len({(f.concept, f.status) for f in s.findings}) == 1]
    there = [i for i in single if chain.steps[i].findings[0].status == "present"]
    rng.shuffle(there)
    said = {name for s in chain.steps for f in s.findings for name in (f.concept, *ancestors(f.concept))}
    for i in there[:1]:
        name = noun(chain.steps[i].findings[0].concept)
        yield "flip a status", Edit(_swap(texts, i, f"No {name}."), (F, C, E), ())
    for i in there:
        for a, b in (("left", "right"), ("right", "left")):
            if f" {a} " in f" {texts[i]} " and f" {b} " not in f" {texts[i]} ":
                yield "swap a side", Edit(_swap(texts, i, texts[i].replace(a, b)), (F, C, E), ())
                break
        else:
            continue
        break
    for words, other in (("small", "large"), ("mild", "severe"), ("severe", "mild"), ("large", "small"),
                         ("has increased", "has decreased"), ("stable", "new"), ("unchanged", "worse")):  # fmt: skip
        at = next((i for i in there if f" {words}" in f" {texts[i].lower()}"), None)
        if at is not None:
            yield "change a degree", Edit(_swap(texts, at, texts[at].lower().replace(words, other)), (F, C, E), ())
            break
    if len(texts) > 1:
        at = rng.randrange(len(texts))
        yield "drop a finding", Edit(_join(texts[:at] + texts[at + 1 :]), (C,), (F, E))
    new = next((n for n in ("pneumomediastinum", "pneumothorax", "scoliosis", "cardiomegaly") if n not in said), None)
    if new:
        yield "add an unsupported finding", Edit(_join([*texts, f"There is {new}."]), (F, E), (C,))
    yield "repeat a step", Edit(_join([*texts, texts[-1]]), (E,), (F, C))
    plan = rng.choice(PLANS)
    at = rng.randrange(len(texts) + 1)
    yield "insert a plan", Edit(_join([*texts[:at], plan, *texts[at:]]), (), PARTS)
    yield "reorder", Edit(_join(rng.sample(texts, len(texts))), (), PARTS, REWORDED)
    yield "paraphrase", Edit(_join([_reworded(text) for text in texts]), (), PARTS, REWORDED)


def right(edit: Edit, before: dict[str, float], after: dict[str, float]) -> bool:
    fell = all(after[part] < before[part] - FALL for part in edit.fall)
    return fell and all(abs(after[part] - before[part]) <= edit.tolerance for part in edit.stay)


def reading(report: str, key: str) -> Chain | None:
    """A faithful reading: the steps of the mined chain that state findings."""
    findings = tuple(merge(extract_report(report)))
    if not findings:
        return None
    steps = build_chain(findings, style="concise", key=(key, 0, "edits")).steps
    kept: tuple[Step, ...] = tuple(replace(step) for step in steps if step.findings)
    return Chain(kept) if len(kept) > 1 else None


def check_edits(reports: Sequence[tuple[str, str]], seed: int = 0) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Per kind of edit: how many, and the share that moved the right parts; and those that did not."""
    counts: Counter[str] = Counter()
    good: Counter[str] = Counter()
    wrong = []
    for uid, report in reports:
        chain = reading(report, uid)
        if chain is None:
            continue
        text = _join([step.text for step in chain.steps])
        before = radrscore(text, text, report).parts
        for kind, edit in edits(chain, random.Random(f"{seed}/{uid}")):
            after = radrscore(edit.text, text, report).parts
            counts[kind] += 1
            if right(edit, before, after):
                good[kind] += 1
            else:
                wrong.append({"id": uid, "kind": kind, "before": before, "after": after, "was": text, "is": edit.text})
    table = {kind: {"n": counts[kind], "right": good[kind] / counts[kind]} for kind in counts}
    table["all"] = {"n": counts.total(), "right": good.total() / max(1, counts.total())}
    return table, wrong


def check_discrimination(reports: Sequence[tuple[str, str]], seed: int = 0) -> dict[str, Any]:
    """How often a report's own reading scores above the reading of another report."""
    rng = random.Random(seed)
    chains = {uid: _join([s.text for s in chain.steps]) for uid, r in reports if (chain := reading(r, uid))}
    texts, pairs, better = dict(reports), 0, 0
    for uid, own in chains.items():
        other = chains[rng.choice(list(chains))]
        if other == own:
            continue
        mine, theirs = (radrscore(text, own, texts[uid]).value or 0.0 for text in (own, other))
        pairs, better = pairs + 1, better + (mine > theirs)
    return {"n": pairs, "right": better / max(1, pairs)}


def check_probes(reports: Sequence[tuple[str, str]], gold: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Assertion against denial: the first must win for a coded class, the second in a report coded normal."""
    hits: dict[str, list[bool]] = {"positive": [], "normal": []}
    for uid, report in reports:
        row = gold.get(uid, {})
        for name, words in NAMES.items():
            present = row.get(name) == "1"
            if present or row.get(NO_FINDING) == "1":
                said, denied = (radrscore(t, t, report).parts[F] for t in (f"There is {words}.", f"No {words}."))
                hits["positive" if present else "normal"].append(said > denied if present else denied > said)
    return {kind: {"n": len(h), "right": sum(h) / max(1, len(h))} for kind, h in hits.items()}


def read_reports(path: Path, limit: int | None) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8") as file:
        rows = [(r["uid"], f"Findings: {r['findings']}\n\nImpression: {r['impression']}") for r in csv.DictReader(file)]
    return rows[:limit]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=Path, default=DATA / "iu" / "indiana_reports.csv")
    parser.add_argument("--gold", type=Path, default=DATA / "iu" / "gold_dev.csv")
    parser.add_argument("--limit", type=int, help="only the first so many reports")
    parser.add_argument(
        "--wrong", type=Path, help="write the edits that moved the wrong parts here; patient text, keep it"
    )
    args = parser.parse_args()
    if not args.reports.is_file():
        print(f"skipped: no reports in {args.reports}; give --reports and --gold, or set CXR_REASONER_DATA")
        return
    reports = read_reports(args.reports, args.limit)
    with args.gold.open(encoding="utf-8") as file:
        gold = {row["uid"]: row for row in csv.DictReader(file)}
    table, wrong = check_edits(reports)
    result = {"edits": table, "probes": check_probes(reports, gold), "discrimination": check_discrimination(reports)}
    print(json.dumps(result, indent=2))
    if args.wrong:
        args.wrong.write_text("".join(json.dumps(row) + "\n" for row in wrong), encoding="utf-8")


if __name__ == "__main__":
    main()
