"""The rules of RadRScore: what counts as a claim, a step and a repetition, and what each is worth."""

from __future__ import annotations

import csv
import doctest
import os
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rewards.radrscore
from benchmarks.reward_edits import reading
from reasoner.phantom.source import PhantomSource
from reasoner.prompts import format_completion
from rewards.process import process
from rewards.radrscore import PARTS, radrscore, read_gold
from rewards.radrscore.claims import Claim, Fact
from rewards.radrscore.reading import read_reasoning

F, C, E = PARTS
FACTS = st.builds(
    Fact,
    st.sampled_from(["lung_opacity", "consolidation", "pneumonia", "pleural_effusion"]),
    st.just("present"),
    st.sampled_from([None, "left", "right"]),
    st.sampled_from([None, "small", "large"]),
    st.sampled_from([None, "new"]),
    st.none(),
)
CHAIN = (
    "There is a small left pleural effusion. Consolidation is seen in the right lower lobe. The heart is enlarged. "
    "No fracture. No pneumothorax."
)
REPORT = f"FINDINGS: {CHAIN}"


def parts(text: str, gold: str = CHAIN, labels: dict[str, str] | None = None) -> dict[str, float]:
    return radrscore(text, gold, f"FINDINGS: {gold}", labels).parts


def value(text: str, gold: str = CHAIN) -> float:
    found = radrscore(text, gold, f"FINDINGS: {gold}").value
    assert found is not None
    return found


def verdicts(text: str, gold: str = CHAIN, part: str = F) -> list[str]:
    return [e["verdict"] for e in radrscore(text, gold, f"FINDINGS: {gold}").evidence if e["part"] == part]


def test_the_worked_example_is_true():
    assert doctest.testmod(rewards.radrscore).failed == 0


def phantom_chains(count: int) -> list[tuple[str, list[str]]]:
    """(report, steps of the mined chain) of drawn studies."""
    source = PhantomSource(None, "unused", train=count, val=0, test=0, site_b=0)
    reports = [source.case("train", n)[1].report for n in range(count)]
    chains = [(report, reading(report, str(n))) for n, report in enumerate(reports)]
    return [(report, [step.text for step in chain.steps]) for report, chain in chains if chain]


class TestRecallNeedsAClaim:
    """Who only names what the reference found recalls nothing of it."""

    frames = {
        "history": lambda steps: "History of " + ", ".join(s[:1].lower() + s[1:].rstrip(".") for s in steps) + ".",
        "plans": lambda steps: " ".join(f"We need to check for {s[:1].lower()}{s[1:]}" for s in steps),
        "questions": lambda steps: " ".join(f"{s.rstrip('.')}?" for s in steps),
        "headings": lambda steps: "\n".join(f"**{s.rstrip('.')}:**" for s in steps) + "\n",
    }

    @pytest.mark.parametrize("frame", frames)
    def test_hollow_text_earns_what_it_claims(self, frame):
        for report, steps in phantom_chains(20):
            if any("pneumothorax" in step for step in steps):
                steps = [step for step in steps if "pneumothorax" not in step]
            chain = " ".join([*steps, "No pneumothorax."])
            hollow = radrscore(f"{self.frames[frame](steps)} No pneumothorax.", chain, report).parts
            honest = radrscore("No pneumothorax.", chain, report).parts
            assert hollow[C] <= honest[C] + 0.02, (steps, hollow)

    def test_words_of_plans_count_about_what_is_claimed(self):
        chain = "Next, we check the costophrenic angles for blunting by an effusion. There is an effusion."
        planned = parts("We check the costophrenic angles for an effusion. There is an effusion.", chain)
        assert planned[C] > parts("There is an effusion.", chain)[C]
        silent = parts("We check the costophrenic angles for an effusion. No fracture.", chain)
        assert silent[C] == 0.0

    def test_wrong_findings_cost_when_claimed_and_gain_nothing_when_asked(self):
        wrong = "There is a pneumothorax. There is a large mass."
        asked = "Is there a pneumothorax? Is there a large mass?"
        planned = "We look for a pneumothorax. We look for a large mass."
        assert value(f"{CHAIN} {wrong}") < value(CHAIN) - 0.1
        for text in (asked, planned):
            assert value(CHAIN) - 0.02 <= value(f"{CHAIN} {text}") <= value(CHAIN)


class TestImplication:
    """A claim that follows from what was said before is a repetition."""

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("No pneumothorax.", "No left pneumothorax."),
            ("No pneumothorax.", "There is no large right pneumothorax."),
            ("No lung opacity.", "No consolidation."),  # denying the parent denies its kinds
            ("There is a small left pleural effusion.", "There is a pleural effusion."),
            ("There is a consolidation.", "There is a lung opacity."),  # asserting a kind asserts its parent
            ("There is a mass.", "There is a mass or a nodule."),
        ],
    )
    def test_one_way_only(self, first, second):
        gold = "No fracture."
        assert verdicts(f"{first} {second}", gold)[1] == "repeated"
        assert verdicts(f"{first} {second}", gold, E)[1] == "repeated"
        assert "repeated" not in verdicts(f"{second} {first}", gold)

    def test_three_denials_that_say_one_thing(self):
        text = "No pneumothorax. No left pneumothorax. No right pneumothorax."
        assert verdicts(text, "No pneumothorax.") == ["supported", "repeated", "repeated"]
        assert parts(text, "No pneumothorax.")[E] == pytest.approx(1 / 3)

    def test_what_a_normal_statement_does_not_name_may_be_named(self):
        assert "repeated" not in verdicts("The lungs are clear. No consolidation.", "The lungs are clear.")

    def test_the_reference_may_be_followed_in_its_repetitions(self):
        gold = "No fracture. No rib fracture. No pneumothorax. No left pneumothorax. Thus, no pneumothorax."
        assert parts(gold, gold) == dict.fromkeys(PARTS, 1.0)
        assert parts(f"{gold} No pneumothorax.", gold)[E] < 1.0

    @given(a=FACTS, b=FACTS)
    def test_absences_turn_it_round(self, a, b):
        def follows(first: Fact, second: Fact) -> bool:
            one, other = (Claim.of([fact], "words", 0).meaning for fact in (first, second))
            return not other.implied_by.isdisjoint(one.implies)

        there, gone = ([fact._replace(status=status) for fact in (a, b)] for status in ("present", "absent"))
        assert follows(there[0], there[1]) == follows(gone[1], gone[0])
        assert follows(there[0], there[0]) and follows(gone[0], gone[0])
        assert not follows(there[0], gone[0])


class TestSteps:
    """A step is what asserts one thing."""

    def test_a_run_on_costs_what_its_sentences_cost(self):
        apart = parts(f"{CHAIN} There is a mass. There is edema.")
        assert parts(f"{CHAIN} There is a mass and there is edema.") == pytest.approx(apart)
        assert apart[E] < parts(f"{CHAIN} There is a mass.")[E]

    def test_a_list_of_denials_is_one_step(self):
        gold = "There is a mass. No effusion, pneumothorax, or fracture is seen."
        assert len(verdicts(gold, gold, E)) == 2
        missed = parts("No effusion, pneumothorax, or fracture is seen. There is edema.", gold)
        assert missed[E] == 0.5

    @pytest.mark.parametrize(
        "text",
        [
            "There is a mass and there is edema, and no effusion or fracture.",
            "Possible pneumonia and edema.",
            "Heart size is normal and the lungs are clear without effusion or pneumothorax.",
        ],
    )
    def test_steps_share_out_the_sentence(self, text):
        steps = [e for e in radrscore(text, CHAIN, REPORT).evidence if e["part"] == E]
        assert len(steps) > 1 and all(step["words"] for step in steps)
        assert all(text[step["start"] : step["end"]] == step["words"] for step in steps)
        assert steps[0]["start"] == 0 and steps[-1]["end"] == len(text)
        assert all(a["end"] == b["start"] for a, b in pairwise(steps))


class TestAlternatives:
    """An asserted "A or B" is one claim, true if either is."""

    gold = "There is a lung nodule."

    def test_true_if_either_is_and_better_than_its_denial(self):
        either, denied = (parts(f"{text} lung nodule or mass.", self.gold) for text in ("There is a", "No"))
        assert either[F] == either[E] == 1.0
        assert either[C] > 0.5
        assert all(either[part] > denied[part] for part in PARTS)

    def test_false_if_neither_is(self):
        assert parts("There is an effusion or a fracture.", self.gold)[F] == 0.0

    def test_less_is_recalled_than_by_the_one(self):
        assert parts("There is a lung nodule or mass.", self.gold)[C] < parts(self.gold, self.gold)[C]

    def test_many_alternatives_are_no_way_to_be_right(self):
        names = ["lung nodule", "mass", "pleural effusion", "fracture", "pneumothorax", "consolidation", "scoliosis"]
        every = f"There is a {', a '.join(names[:-1])} or {names[-1]}."
        assert len(verdicts(every, self.gold)) == 1
        assert parts(every, self.gold)[F] < 0.3

    def test_the_reference_may_leave_two_open(self):
        gold = "There is a lung nodule or mass."
        assert parts(gold, gold) == dict.fromkeys(PARTS, 1.0)
        assert parts("There is a mass.", gold)[F] == 1.0
        assert parts("No mass.", gold)[F] == 0.0


class TestKinds:
    def test_denying_a_kind_does_not_contradict_the_parent(self):
        gold = "There is a lung nodule."
        assert verdicts("No cavity.", gold) == verdicts("No granuloma.", gold) == ["supported"]

    def test_nor_its_verified_class(self):
        silent = "The heart is normal."
        labels = {"Lung Lesion": "present", "Lung Opacity": "present"}
        assert parts("No lung mass.", silent, labels)[F] == parts("No infiltrate.", silent, labels)[F] == 1.0
        assert parts("No lung lesion.", silent, labels)[F] == parts("No lung opacity.", silent, labels)[F] == 0.0


class TestItself:
    """A text read out is true of itself, whatever it says beside."""

    @pytest.mark.parametrize(
        "text",
        [
            "There is left basilar atelectasis. The lungs are otherwise clear.",
            "The heart is normal in size. There is borderline cardiomegaly.",
            "No pneumothorax. There is a small apical pneumothorax. No pneumothorax.",
        ],
    )
    def test_what_it_says_beside_itself(self, text):
        found = radrscore(text, text, text).parts
        assert found[F] == found[E] == 1.0

    def test_unless_labels_know_better(self):
        assert parts("No pneumothorax.", "No pneumothorax.", {"Pneumothorax": "present"})[F] == 0.0

    def test_real_reports(self, data_dir):
        path = data_dir / "iu" / "indiana_reports.csv"
        if not path.is_file():
            pytest.skip(f"{path} is not at hand")
        with path.open(encoding="utf-8") as file:
            rows = [(row["findings"], row["impression"]) for row in csv.DictReader(file)][:300]
        scores = []
        for findings, impression in rows:
            text = f"{findings} {impression}".strip()
            report = f"Findings: {findings}\n\nImpression: {impression}"
            mined = {"Atelectasis": "present", "Pleural Effusion": "absent"}
            for labels in (None, mined):
                score = process(
                    format_completion(text, "No Finding"),
                    reasoning=text,
                    report=report,
                    labels=labels,
                    label_source="mined" if labels else None,
                )
                if score.value is not None and any(e["part"] == F for e in score.evidence):
                    scores.append(score)
        assert len(scores) > 500
        assert sum(s.value or 0.0 for s in scores) / len(scores) >= 0.98
        assert sum(s.parts[F] < 0.9 for s in scores) <= 0.01 * len(scores)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([*CHAIN.split(". "), "There is a mass or nodule", "No opacity"]), min_size=1))
def test_judgements_do_not_depend_on_what_was_judged_before(sentences):
    """Identity by value: a row's gold that has judged much gives what a fresh one gives."""
    text = ". ".join(sentences) + "."
    used, labels = radrscore(text, CHAIN, REPORT), {"Pneumothorax": "absent"}
    verified = radrscore(text, CHAIN, REPORT, labels)
    read_gold.cache_clear()
    assert radrscore(text, CHAIN, REPORT, labels) == verified
    assert radrscore(text, CHAIN, REPORT) == used


def test_claims_are_judged_by_name():
    gold = read_gold(CHAIN, REPORT)
    (claim,) = read_reasoning("There is a right pleural effusion.")[0].claims
    report, reference = gold.judge(claim)
    assert (report.verdict, report.credit) == (reference.verdict, reference.credit) == ("contradicted", 0.0)
    assert report.other == Fact("pleural_effusion", "present", "left", "small")


def test_another_process_means_the_same():
    code = (
        "from rewards.radrscore import read_gold; from rewards.radrscore.reading import read_reasoning; "
        "print(sorted(c.meaning.key for s in read_reasoning('A nodule or mass. Clear lungs.') for c in s.claims))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            encoding="utf-8",
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1
