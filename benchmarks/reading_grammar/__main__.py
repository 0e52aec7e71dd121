"""`python -m benchmarks.reading_grammar`: how many cases are read right; exits 0 whatever the numbers."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.reading_grammar.answers import answer_cases
from benchmarks.reading_grammar.cases import Case
from benchmarks.reading_grammar.layouts import layout_cases
from benchmarks.reading_grammar.mutations import mutation_cases
from benchmarks.reading_grammar.pairs import hollow_cases, pair_cases
from benchmarks.reading_grammar.sentences import sentence_cases, text_cases

KINDS = {
    "sentence": sentence_cases,
    "text": text_cases,
    "layout": layout_cases,
    "answer": answer_cases,
    "mutation": mutation_cases,
    "pair": pair_cases,
    "hollow": hollow_cases,
}


def cases(kinds: Iterable[str] = tuple(KINDS)) -> Iterator[Case]:
    """All cases of some kinds, both halves."""
    for kind in kinds:
        yield from KINDS[kind]()


def measure(chosen: Iterable[Case]) -> dict[str, Any]:
    """`kinds` and `groups`: name -> (right, all); `failures`: construction -> how often, with the first example."""
    right: dict[str, Counter[str]] = {"kinds": Counter(), "groups": Counter()}
    total: dict[str, Counter[str]] = {"kinds": Counter(), "groups": Counter()}
    failures: dict[str, dict[str, Any]] = {}
    for case in chosen:
        wrong = case.check()
        for level, name in (("kinds", case.kind), ("groups", f"{case.kind} {case.group}")):
            total[level][name] += 1
            right[level][name] += wrong is None
        if wrong:
            name = f"{case.kind} {case.construction}"
            failures.setdefault(name, {"times": 0, "text": case.text, "wrong": wrong})["times"] += 1
    shares = {level: {name: (right[level][name], n) for name, n in total[level].items()} for level in total}
    return {**shares, "failures": failures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--held-back", action="store_true", help="the half kept from development: totals only")
    parser.add_argument("--kind", choices=sorted(KINDS), action="append")
    parser.add_argument("--group", help="only this group of constructions, or this construction")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="up to N constructions that fail")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    chosen = [case for case in cases(args.kind or KINDS) if case.held_back == args.held_back]
    if args.group and not args.held_back:
        chosen = [case for case in chosen if args.group in (case.group, case.construction)]
    result = measure(chosen)
    if args.held_back:
        result = {"kinds": result["kinds"]}
    else:
        result["failures"] = dict(list(result["failures"].items())[: args.show])
    if args.json:
        print(json.dumps(result, indent=1, ensure_ascii=False))
        return
    for level in ("groups", "kinds"):
        for name, (right, n) in result.get(level, {}).items():
            print(f"{name:32} {right:5} of {n:5}  {right / n:.3f}")
        print()
    for construction, failed in result.get("failures", {}).items():
        print(f"{construction} ({failed['times']}): {failed['text']!r}\n    {failed['wrong']}")


if __name__ == "__main__":
    main()
