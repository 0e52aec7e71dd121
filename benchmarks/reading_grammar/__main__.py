"""`python -m benchmarks.reading_grammar`: how many cases are read right; exits 0 whatever the numbers."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.reading_grammar.cases import Case
from benchmarks.reading_grammar.layouts import layout_cases
from benchmarks.reading_grammar.sentences import sentence_cases

KINDS = {"sentence": sentence_cases, "layout": layout_cases}


def cases(kinds: Iterable[str] = tuple(KINDS)) -> Iterator[Case]:
    """All cases of some kinds, both halves."""
    for kind in kinds:
        yield from KINDS[kind]()


def measure(chosen: Iterable[Case]) -> dict[str, Any]:
    """Counts of right and all cases per kind and group, and per construction that fails how often, with an example."""
    right: Counter[tuple[str, str]] = Counter()
    total: Counter[tuple[str, str]] = Counter()
    failures: dict[str, list[Any]] = {}
    for case in chosen:
        key = (case.kind, case.group)
        total[key] += 1
        if wrong := case.check():
            failures.setdefault(f"{case.kind} {case.construction}", [0, case.text, wrong])[0] += 1
        else:
            right[key] += 1
    groups = {f"{kind} {group}": (right[kind, group], n) for (kind, group), n in total.items()}
    sums = {
        kind: (sum(n for key, n in right.items() if key[0] == kind), sum(n for k, n in total.items() if k[0] == kind))
        for kind, _ in total
    }
    return {"kinds": sums, "groups": groups, "failures": failures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--held-back", action="store_true", help="the half kept from development: totals only")
    parser.add_argument("--kind", choices=sorted(KINDS), action="append")
    parser.add_argument("--group", help="only this group of constructions, or this construction")
    parser.add_argument(
        "--show", type=int, default=0, metavar="N", help="up to N constructions that fail"
    )
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
    for construction, (n, text, wrong) in result.get("failures", {}).items():
        print(f"{construction} ({n}): {text!r}\n    {wrong}")


if __name__ == "__main__":
    main()
