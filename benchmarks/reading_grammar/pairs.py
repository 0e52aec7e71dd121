"""Pairs of readings of one report, the first truer than the second; and hollow texts beside an honest partial reading.

A pair is right if the truer reading scores more, a tie if it says so and scores within `TIE`, a hollow text if it
scores at least `MARGIN` below the honest one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, partial
from random import Random

from benchmarks.reading_grammar.cases import Case, table
from benchmarks.reading_grammar.layouts import Said, fact_sets
from benchmarks.reading_grammar.sentences import Construction, constructions, fill
from benchmarks.reading_grammar.words import SIDES, THINGS, Thing, apart, draw, family, shuffled
from rewards.radrscore import radrscore

TIE, MARGIN, LEAST = 0.01, 0.1, 0.001
NORMAL = "The lungs are clear. The heart is normal in size. No pleural effusion or pneumothorax."
#: Reports per construction.
TIMES = 3


def score(text: str, report: str) -> float:
    """The reading's score; the report is the reference chain as well."""
    value = radrscore(text, report, report).value
    assert value is not None
    return value


def prose(facts: Sequence[Said]) -> str:
    return " ".join(fact.sentence for fact in facts)


@cache
def _reports() -> tuple[tuple[Said, ...], ...]:
    """Facts of reports, the present ones first, with two or more of findings that are present."""
    sets = [tuple(sorted(facts, key=lambda fact: fact.status != "present")) for facts in fact_sets(48)]
    return tuple(facts for facts in sets if sum(fact.status == "present" for fact in facts) > 1)


def pair_cases() -> Iterator[Case]:
    yield from _single_claims()
    yield from _edited()


def _single_claims() -> Iterator[Case]:
    """Every sentence about one finding, beside the plain truth or the plain untruth, at the end of a true reading."""
    for construction in constructions():
        if construction.alone:
            fit = [thing for thing in THINGS if construction.fits(thing, None)]
            for thing in shuffled(fit, construction.id)[:TIMES]:
                for there in (True, False):
                    yield from _beside(construction, thing, there)


#: How true a sentence is where the finding is there; where it is not, the other way round.
_RANK = {"x present": 2, "x absent": 0, "x none": 1, "x none|absent": 1, "x uncertain": 1}


def _beside(construction: Construction, thing: Thing, there: bool) -> Iterator[Case]:
    says = construction.says
    rank = _RANK[says] if there else 2 - _RANK[says]
    if not there and says == "x none|absent":
        return
    others = [fact for fact in _reports()[draw(construction.id + thing.name, len(_reports()))] if _apart(fact, thing)]
    status = "present" if there else "absent"
    truth, untruth = Said(thing, status).sentence, Said(thing, "absent" if there else "present").sentence
    report, base = f"{prose(others)} {truth}", prose(others[:2])
    text, _ = fill(construction, thing, None)
    if rank == 2:
        yield _pair(construction.id, report, f"{base} {text}", f"{base} {untruth}")
    else:
        yield _pair(construction.id, report, f"{base} {truth}", f"{base} {text}")
    if rank == 1 and says != "x none|absent":
        yield _pair(construction.id, report, f"{base} {text}", f"{base} {untruth}")


def _apart(fact: Said, thing: Thing) -> bool:
    if isinstance(fact.about, Thing):
        return not set(family(fact.about)) & set(family(thing))
    return apart(thing, fact.about)


def _pair(name: str, report: str, truer: str, other: str, tie: bool = False) -> Case:
    return Case("pair", name, f"{truer} > {other}", partial(_misordered, report, truer, other, tie))


def _misordered(report: str, truer: str, other: str, tie: bool) -> str | None:
    """A tie asks only that the other reading gains nothing."""
    better, worse = score(truer, report), score(other, report)
    right = worse <= better + TIE if tie else better > worse + LEAST
    return None if right else f"{better:.3f} against {worse:.3f}, report {report!r}"


def _edited() -> Iterator[Case]:
    """Whole readings against edited ones, for every report."""
    rng = Random(5)
    for facts in _reports():
        report = prose(facts)
        for name, text, tie in _edits(facts, rng):
            yield _pair(f"pair/{name}", report, report, text, tie)
        half, wrong = list(facts[: (len(facts) + 1) // 2]), _strangers(facts, rng, 2)
        falsely = [Said(thing, "present") for thing in wrong]
        for name, truer, other, tie in _partial(half, facts[len(half) :], falsely):
            yield _pair(f"pair/{name}", report, truer, other, tie)


def _edits(facts: Sequence[Said], rng: Random) -> Iterator[tuple[str, str, bool]]:
    """Edits that make a full reading less true, or longer and no truer."""
    first, rest = facts[0], list(facts[1:])
    assert isinstance(first.about, Thing)
    stranger = Said(_strangers(facts, rng, 1)[0], "present")
    yield "drop_present", prose(rest), False
    yield "deny_present", prose([Said(first.about, "absent"), *rest]), False
    yield "hedge_present", prose([Said(first.about, "uncertain"), *rest]), False
    yield "add_false", prose([*facts, stranger]), False
    yield "add_false_first", prose([stranger, *facts]), False
    yield "add_two_false", prose([*facts, *(Said(thing, "present") for thing in _strangers(facts, rng, 2))]), False
    yield "replace_by_false", prose([stranger, *rest]), False
    yield "all_denied", prose([Said(fact.about) for fact in facts]), False
    yield "normal_template", NORMAL, False
    yield "empty", "", False
    yield "contradicted", f"{prose(facts)} {Said(first.about, 'absent').sentence}", False
    yield "retracted_end", f"{prose([*rest, first])} This is not true.", False
    yield "either", prose(rest) + f" There is {first.about.name} or {stranger.about.name}.", False
    yield "said_twice", f"{prose(facts)} {prose(facts)}", True
    yield "plans_added", prose(facts) + f" Next, I will look for {stranger.about.name}.", True
    yield "question_added", prose(facts) + f" Is there {stranger.about.name}?", True
    yield "history_added", prose(facts) + f" History of {stranger.about.name}.", True
    if first.side:
        yield "wrong_side", prose([first._replace(side=SIDES[first.side == "left"]), *rest]), False
        yield "side_left_out", prose([first._replace(side=""), *rest]), False
        yield "both_sides", prose([first._replace(side="bilateral"), *rest]), False
    if first.severity:
        other = [one for one in first.about.severities if one != first.severity]
        yield "wrong_severity", prose([first._replace(severity=rng.choice(other)), *rest]), False
        yield "severity_left_out", prose([first._replace(severity=""), *rest]), False
    absent = [fact for fact in facts if fact.status == "absent" and isinstance(fact.about, Thing)]
    if absent:
        name = absent[0].about.name
        yield "assert_absent", prose([f._replace(status="present") if f is absent[0] else f for f in facts]), False
        yield "denial_repeated", prose(facts) + f" No {name}. No left {name}. No right {name}.", True
        yield "denial_by_sides_first", f"No left {name}. No right {name}. {prose(facts)}", True


def _partial(half: list[Said], rest: Sequence[Said], wrong: list[Said]) -> Iterator[tuple[str, str, str, bool]]:
    """A partial reading and others: (name, truer, other, whether a tie is right, too)."""
    a, b = (one.sentence.rstrip(".") for one in wrong)
    small = b[0].lower() + b[1:]
    yield "more_is_better", prose([*half, *rest]), prose(half), False
    yield "half_beats_false", prose(half), prose(wrong), False
    yield "half_beats_half_false", prose(half), prose([*half[:1], *wrong]), False
    yield "false_run_on", f"{prose(half)} {a}. {b}.", f"{prose(half)} {a} and {small}.", True
    yield "false_semicolon", f"{prose(half)} {a}. {b}.", f"{prose(half)} {a}; {small}.", True
    yield "false_list", f"{prose(half)} {a}. {b}.", f"{prose(half)} {a} and {wrong[1].noun}.", True
    yield "denial_beats_falsehood", f"{prose(half)} No {wrong[0].noun}.", f"{prose(half)} {a}.", False
    yield "silence_beats_falsehood", prose(half), f"{prose(half)} {a}.", False
    yield "question_no_gain", prose(half), f"{prose(half)} Is there {wrong[0].noun} or {wrong[1].noun}?", True
    yield "naming_no_gain", prose(half), f"{prose(half)} Look for {', '.join(fact.about.name for fact in rest)}.", True
    yield (
        "history_no_gain",
        prose(half),
        f"{prose(half)} History of {', '.join(fact.about.name for fact in rest)}.",
        True,
    )


def _strangers(facts: Sequence[Said], rng: Random, n: int) -> list[Thing]:
    """Findings that the report neither names nor implies."""
    taken = {concept for thing in _things(facts) for concept in family(thing)}
    taken |= {fact.about.name for fact in facts}
    free = [thing for thing in rng.sample(THINGS, len(THINGS)) if not taken & set(family(thing))]
    return free[:n] if not set(family(free[0])) & set(family(free[1])) else [free[0], free[2]][:n]


def hollow_cases() -> Iterator[Case]:
    """Every sentence that says nothing, and every list that claims nothing, about all findings of a report."""
    for construction in constructions():
        if construction.says == "x none":
            for facts in _drawn(construction.id, construction):
                text = " ".join(fill(construction, thing, None)[0] for thing in _things(facts))
                yield _hollow(construction.id, facts, text)
    for name, form in table("hollow.txt", 2):
        for facts in _drawn(name, None):
            yield _hollow(name, facts, _named(form, facts))


def _drawn(key: str, construction: Construction | None) -> Iterator[tuple[Said, ...]]:
    reports = shuffled(_reports(), key)
    if construction:
        reports = [facts for facts in reports if all(construction.fits(thing, None) for thing in _things(facts))]
    yield from reports[: 2 * TIMES]


def _things(facts: Sequence[Said]) -> list[Thing]:
    return [fact.about for fact in facts if isinstance(fact.about, Thing)]


def _named(form: str, facts: Sequence[Said]) -> str:
    names = [f"{fact.about.article} {fact.noun}".strip() for fact in facts if isinstance(fact.about, Thing)]
    taken = {concept for thing in _things(facts) for concept in family(thing)}
    absent = next(thing.name for thing in THINGS if not taken & set(family(thing)))
    if "{x}" in form:
        return " ".join(form.format(x=name, absent=absent) for name in names)
    words = {word: ", ".join(names[:-1]) + f" {joint} {names[-1]}" for word, joint in (("list", "and"), ("or", "or"))}
    return form.format(**words, absent=absent)


def _hollow(name: str, facts: Sequence[Said], text: str) -> Case:
    return Case("hollow", name, text, partial(_paid, facts, text))


def _paid(facts: Sequence[Said], text: str) -> str | None:
    """An honest reading of half of the facts must be worth more by `MARGIN`."""
    report = prose(facts)
    honest, hollow = score(prose(facts[: (len(facts) + 1) // 2]), report), score(text, report)
    return None if hollow <= honest - MARGIN else f"{hollow:.3f} beside {honest:.3f}, report {report!r}"
