"""The abnormality list of NV-Reason-CXR (arXiv 2510.23968): which of the 14 CheXpert classes does a film show?

`official` is the accuracy reward of its authors (github.com/NVIDIA-Medtech/NV-Reason-CXR, train/vlm_rewards.py): the
first answer block, split at commas; names that are not exactly a class, but for case, are ignored, on both sides; the
Jaccard index, 1 where both sets are empty, 0 without an answer block. True where it is 1. Its lists hold no uncertain
class, so one counts as absent. `strict` is our answer reward: synonyms and prose are read, a name that is no class is
wrong, an uncertain class counts neither way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from eval.benchmarks.base import AnswerReader, Grade, Item, Malformed, Published
from eval.benchmarks.label_files import read_labels
from eval.bootstrap import Array
from eval.lists import class_set_metrics, f1_by_class, list_counts, list_metrics, precision_recall_by_class
from reasoner.schema import CLASSES
from rewards.answers import LONGEST, GoldList, grade_list, parse_class_list

#: What the names of counts and metrics by the authors' rule begin and end with.
_OFFICIAL, _ENDING = "official_", "_official"
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_CLASSES = {name.lower(): name for name in CLASSES}


class AbnormalityList:
    """The benchmark; see `eval.benchmarks.base.Benchmark`."""

    name = "abnormality_list"
    profile = "nv_reason"
    #: None yet: the paper's table could not be checked against its text.
    published: Sequence[Published] = ()
    gathers = False

    def read(self, file: Path, images: Path | None) -> Iterator[Item | Malformed]:
        return read_labels(file, images)

    def grade(self, item: Item, completion: str, reader: AnswerReader) -> Grade:
        gold = GoldList(tuple(item.gold["classes"]), frozenset(item.gold["free"]), item.example.answer)
        theirs, solution = official_names(completion), named_by_rule(item.gold["solution"])
        jaccard = official_jaccard(theirs, solution)
        text = reader(completion)
        read = text if text is not None and len(text) <= LONGEST else None
        score = grade_list(read, gold).value if read is not None else 0.0
        strict = score == 1.0 if gold.classes else None
        values = {
            "jaccard": score if gold.classes else None,
            "jaccard_official": jaccard,
            "exact_match": None if strict is None else float(strict),
        }
        counts = _counts(read, gold) | {
            f"{_OFFICIAL}{name}": count for name, count in list_counts(theirs or (), solution).items()
        }
        note = _difference(item, read, theirs) if strict != (jaccard == 1.0) else ""
        return Grade(jaccard == 1.0, strict, read, note, values, counts)

    def metrics(self, totals: Mapping[str, Array]) -> dict[str, Array]:
        theirs = {name.removeprefix(_OFFICIAL): total for name, total in totals.items() if name.startswith(_OFFICIAL)}
        found = list_metrics(totals) | class_set_metrics(totals) | precision_recall_by_class(totals)
        found |= {f"{name}{_ENDING}": value for name, value in class_set_metrics(theirs).items()}
        return found | {f"f1{_ENDING}/{name}": value for name, value in f1_by_class(theirs).items()}


def official_names(completion: str) -> frozenset[str] | None:
    """The classes of a completion by the authors' rule; None without an answer block."""
    match = _ANSWER.search(completion)
    return named_by_rule(match[1]) if match else None


def named_by_rule(text: str) -> frozenset[str]:
    """The items between commas that are the name of a class, in any case."""
    items = (item.strip().lower() for item in text.strip().split(","))
    return frozenset(_CLASSES[item] for item in items if item in _CLASSES)


def official_jaccard(named: frozenset[str] | None, solution: frozenset[str]) -> float:
    """In 0 to 1: as the authors' accuracy reward."""
    if named is None:
        return 0.0
    union = named | solution
    return len(named & solution) / len(union) if union else 1.0


def _counts(read: str | None, gold: GoldList) -> dict[str, float]:
    """Our counts of one list; none where it is not graded. What cannot be read names nothing."""
    if not gold.classes:
        return list_counts((), ())
    named, unknown = parse_class_list(read or "")
    return list_counts(gold.counted(named), gold.classes, len(unknown))


def _difference(item: Item, read: str | None, theirs: frozenset[str] | None) -> str:
    """Why the two rules differ, in one line."""
    if not item.gold["classes"]:
        outside = ", ".join(item.gold["outside"]) or "at most what is uncertain"
        return f"ours does not grade it: the reference finds {outside}, and no class"
    if read is None:
        return "ours finds no answer, or one that is too long"
    ours, unknown = parse_class_list(read)
    reasons = []
    if theirs is None:
        reasons.append("theirs finds no answer block")
    if unknown:
        reasons.append(f"theirs ignores {', '.join(unknown)}")
    if theirs is not None and set(ours) != theirs:
        only = sorted(theirs.symmetric_difference(ours))
        reasons.append(f"read as written by one rule alone: {', '.join(only)}")
    if free := sorted(set(item.gold["free"]) & (set(ours) | (theirs or frozenset()))):
        reasons.append(f"uncertain or not looked for, so free in ours: {', '.join(free)}")
    listed = named_by_rule(item.gold["solution"])
    if set(item.gold["classes"]) != listed:
        reasons.append(f"theirs wants {', '.join(sorted(listed)) or 'nothing'}, ours {item.example.answer}")
    return "; ".join(reasons) or "ours gives nothing for 'No Finding' beside another name"
