"""RadRScore by hand-made cases, controlled edits, and wild input."""

from __future__ import annotations

import csv
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reasoner.prompts import format_completion
from rewards.process import process
from rewards.radrscore import PARTS, radrscore
from rewards.registry import Score

REPORT = (
    "INDICATION: Rule out pneumothorax.\n\nFINDINGS: There is a small left pleural effusion. Consolidation in the "
    "right lower lobe. The heart is not enlarged. No pneumothorax.\n\nIMPRESSION: Small left pleural effusion."
)
CHAIN = (
    "No support devices are seen. There is consolidation in the right lower lobe. A small left pleural effusion is "
    "present. No pneumothorax. Heart size is normal. No fracture."
)


def score(text: str, report: str = REPORT, chain: str = CHAIN, labels: dict | None = None) -> dict[str, float]:
    return radrscore(text, chain, report, labels).parts


def verdicts(result: Score, part: str) -> list[str]:
    return [entry["verdict"] for entry in result.evidence if entry["part"] == part]


def test_a_copy_of_the_reference_is_perfect():
    result = process(format_completion(CHAIN, "Pleural Effusion"), reasoning=CHAIN, report=REPORT)
    assert result.parts == {"factuality": 1.0, "completeness": 1.0, "effectiveness": 1.0}
    assert result.value == 1.0
    assert set(verdicts(result, "factuality")) == {"supported"}


@pytest.mark.parametrize("text", ["", "   ", "I look at the image.", "Is there a pleural effusion?", "<think>"])
def test_saying_nothing_scores_nothing(text):
    assert score(text) == dict.fromkeys(PARTS, 0.0)


def test_evidence_quotes_both_sides():
    result = radrscore("There is a right pneumothorax. A small left pleural effusion is seen.", CHAIN, REPORT)
    for entry in result.evidence:
        text = (
            CHAIN
            if entry["part"] == "completeness"
            else "There is a right pneumothorax. A small left pleural effusion is seen."
        )
        assert text[entry["start"] : entry["end"]] == entry["words"]
    wrong, right = (e for e in result.evidence if e["part"] == "factuality")
    assert wrong["verdict"] == "contradicted" and wrong["against"] == "No pneumothorax"
    assert right["verdict"] == "supported" and "effusion" in right["against"]


F, C, E = PARTS
EFFUSION = "A small left pleural effusion is present."
#: Controlled edits of the reference: (old, new), the parts that must fall, the parts that must not move.
EDITS = {
    "status flipped": (("No pneumothorax.", "There is a pneumothorax."), (F, C, E), ()),
    "denied": ((EFFUSION, "No pleural effusion."), (F, C, E), ()),
    "side swapped": (("small left", "small right"), (F, C, E), ()),
    "severity changed": (("small left", "large left"), (F, C, E), ()),
    "hedged": ((EFFUSION, "Possible small left pleural effusion."), (F, C, E), ()),
    "dropped": (("No pneumothorax. ", ""), (C,), (F, E)),
    "severity dropped": (("small left", "left"), (C,), (F, E)),
    "unsupported added": (("No fracture.", "No fracture. There is pulmonary edema."), (F, E), (C,)),
    "repeated": (("No fracture.", "No fracture. No pneumothorax."), (E,), (F, C)),
    "plan inserted": (("No fracture.", "Next, we need to look for fractures. No fracture."), (), (F, C, E)),
    "textbook inserted": (("No fracture.", "Edema would typically appear as opacities. No fracture."), (), (F, C, E)),
}


@pytest.mark.parametrize("name", EDITS)
def test_edits_move_the_right_part(name):
    (old, new), fall, stay = EDITS[name]
    assert old in CHAIN
    parts = score(CHAIN.replace(old, new))
    for part in fall:
        assert parts[part] < 1.0, part
    for part in stay:
        assert parts[part] == 1.0, part


def test_order_and_wording_do_not_matter():
    reordered = " ".join(sentence + "." for sentence in reversed(CHAIN.rstrip(".").split(". ")))
    paraphrased = (
        "There are no lines or tubes. Right lower lobe consolidation is noted. There is a small pleural effusion on "
        "the left. Pneumothorax is absent. The heart is not enlarged. There is no evidence of fracture."
    )
    assert score(reordered) == dict.fromkeys(PARTS, 1.0)
    assert min(score(paraphrased).values()) >= 0.95


def test_assertion_beats_denial_where_the_report_asserts_and_the_reverse():
    for name, present in (
        ("pleural effusion", True),
        ("consolidation", True),
        ("pneumothorax", False),
        ("edema", False),
    ):
        said, denied = (score(text)["factuality"] for text in (f"There is {name}.", f"No {name}."))
        assert (said > denied) is present, name


@pytest.mark.parametrize(
    ("claim", "low", "high"),
    [
        ("There is an opacity in the right lung.", 0.5, 0.9),  # vaguer than consolidation
        ("There is right lower lobe pneumonia.", 0.3, 0.7),  # more than the report says
        ("Possible consolidation in the right lower lobe.", 0.4, 0.6),
        ("There is consolidation in the left lower lobe.", 0.0, 0.0),
        ("No right pleural effusion.", 1.0, 1.0),  # the left one does not refute it
        ("No pulmonary nodule.", 1.0, 1.0),  # silence is normal
        ("There is a pulmonary nodule.", 0.0, 0.0),
        ("The lungs are clear.", 0.0, 0.0),
    ],
)
def test_graded_factuality(claim, low, high):
    assert low <= score(claim)["factuality"] <= high


def test_a_normal_statement_recalls_what_it_implies():
    chain = "No consolidation. No pulmonary edema. No pneumonia."
    assert score("The lungs are clear.", report="FINDINGS: Normal chest.", chain=chain)["completeness"] == 1.0


def completeness(text: str, chain: str) -> float:
    return score(text, report="FINDINGS: Normal chest.", chain=chain)["completeness"]


def test_another_name_of_a_finding_recalls_it_and_its_own_words_recall_more():
    chain = "There is a hazy density in the left lung. The heart is enlarged."
    other, same = "There is an opacity in the left lung. There is cardiomegaly.", chain
    assert 0.5 < completeness(other, chain) < completeness(same, chain) == 1.0


def test_what_is_denied_earns_nothing_beside_what_is_agreed():
    chain = "There is a calcified granuloma, but no pleural effusion."
    denied = score("There is no calcified granuloma. No pleural effusion.", report=f"FINDINGS: {chain}", chain=chain)
    silent = score("No pleural effusion.", report=f"FINDINGS: {chain}", chain=chain)
    assert denied["completeness"] == silent["completeness"] > 0.0
    assert denied["factuality"] < silent["factuality"]
    assert sum(map(denied.get, PARTS)) < sum(map(silent.get, PARTS))
    assert completeness("There is no calcified granuloma. There is a pleural effusion.", chain) == 0.0


def test_a_pair_of_words_must_stand_in_one_sentence():
    chain = "A tortuous aorta and a blunted angle are seen."
    assert completeness("The angle is tortuous. The aorta is blunted.", chain) < completeness(chain, chain)


def test_what_the_chain_returns_to_weighs_more_and_is_denied_as_often():
    once = "There is an effusion. There is a fracture of the clavicle."
    again = once + " Thus, there is a fracture of the clavicle."
    assert completeness("There is a fracture of the clavicle.", again) > completeness(once[22:], once)
    assert completeness("There is no fracture of the clavicle.", again) == 0.0


def test_self_contradiction_is_not_recalled_in_full():
    both = score(CHAIN + " There is no pleural effusion.")
    assert both["completeness"] < 1.0 and both["factuality"] < 1.0


@pytest.mark.parametrize(
    "words", ["There isn't any pleural effusion.", "A pleural effusion isn’t seen.", "I can't see a pleural effusion."]
)
def test_contracted_negations_deny(words):
    assert score(words, report="FINDINGS: No pleural effusion.", chain="No pleural effusion.")["factuality"] == 1.0
    assert score(words)["factuality"] == 0.0


@pytest.mark.parametrize(
    "words",
    [
        "Regarding consolidation, the lungs are clear.",
        "Next, in assessing for consolidation, the lungs are clear.",
        "Consolidation: The lungs are clear throughout.",
        "The options include consolidation and a mass. The lungs are clear.",
        "- **Option A: consolidation in the left base**.\nThe lungs are clear.",
        "For option A, a consolidation, we consider the bases. The lungs are clear.",
    ],
)
def test_what_is_only_announced_is_not_claimed(words):
    result = radrscore(words, "The lungs are clear.", "FINDINGS: The lungs are clear.")
    assert result.parts["factuality"] == result.parts["effectiveness"] == 1.0


def test_an_answer_in_the_next_sentence_counts():
    asked = "First, we check for scarring at the left base. None is seen."
    result = radrscore(asked, "No scarring.", "FINDINGS: Normal chest.")
    assert result.parts == dict.fromkeys(PARTS, 1.0)


class TestLabels:
    """Verified labels outweigh the report's silence, and its error."""

    report = "FINDINGS: The heart is not enlarged. No pneumothorax."
    chain = "No pleural effusion. No pneumothorax. Heart size is normal."

    def score(self, text: str, **labels: str) -> dict[str, float]:
        names = {name.replace("_", " "): status for name, status in labels.items()}
        return score(text, self.report, self.chain, names)

    def test_present_but_unreported(self):
        claim = "There is a left pleural effusion."
        assert self.score(claim)["factuality"] == 0.0
        known = self.score(claim, Pleural_Effusion="present")
        assert known["factuality"] == 1.0 and known["effectiveness"] == 1.0

    def test_calling_it_normal_is_contradicted(self):
        assert self.score("No pleural effusion.")["factuality"] == 1.0
        known = self.score("No pleural effusion.", Pleural_Effusion="present")
        assert known["factuality"] == 0.0 and known["effectiveness"] == 0.0

    def test_nobody_must_recall_a_refuted_reference_claim(self):
        honest = "There is a pleural effusion. No pneumothorax. Heart size is normal."
        assert self.score(honest, Pleural_Effusion="present") == dict.fromkeys(PARTS, 1.0)

    def test_labels_know_no_sides(self):
        report = "FINDINGS: Small left pleural effusion."
        labels = {"Pleural Effusion": "present"}
        assert score("There is a right pleural effusion.", report, self.chain, labels)["factuality"] == 0.0
        assert (
            score("No right pleural effusion.", report + " No right pleural effusion.", self.chain, labels)[
                "factuality"
            ]
            == 1.0
        )


def test_gaming_stays_below_the_honest_reference():
    denials = " ".join(
        f"No {name}." for name in ("effusion", "pneumothorax", "consolidation", "edema", "fracture", "nodule")
    )
    tricks = {
        "deny all": denials,
        "assert all": denials.replace("No ", "There is "),
        "hedge all": denials.replace("No ", "Possible "),
        "repeat one": "There is a small left pleural effusion. " * 40,
        "normal study": "Normal chest radiograph.",
        "report pasted as a plan": "We need to evaluate for pleural effusion, consolidation and pneumothorax.",
    }
    honest_but_mediocre = radrscore(
        "Left pleural effusion. No pneumothorax. Heart size is normal.", CHAIN, REPORT
    ).value
    assert honest_but_mediocre is not None
    for name, text in tricks.items():
        value = radrscore(text, CHAIN, REPORT).value
        assert value is not None and value < honest_but_mediocre, name


def test_rows_without_a_reference_abstain():
    assert process("<think>Clear lungs.</think>", reasoning="", report=REPORT).value is None
    assert process("<think>Clear lungs.</think>", reasoning=CHAIN, report=None).value is None


words = st.sampled_from([
    "There is", "no", "not", "possible", "left", "bilateral", "effusion", "opacity", "lungs clear", "heart enlarged",
    ".", ",", ";", ":", "**", "<think>", "-", "A)", "which would", "may", "absence of", "pneumothorax", "resolved",
    "ruled out", "none", "this", "1.", "?", "\u200b", "\n",
])  # fmt: skip


@example("L0ILAAE0EFFUSION0NEUAOA", 'ILAAE0EFFUSION?"NEUAOA0ILAAE0EFFUSION0L')  # shares that add up to 1 + 2e-16
@settings(deadline=None, max_examples=150)
@given(st.one_of(st.text(), st.lists(words).map(" ".join)), st.one_of(st.text(), st.lists(words).map(" ".join)))
def test_never_raises_and_stays_in_range(text, reference):
    for result in (radrscore(text, reference, REPORT), radrscore(text, CHAIN, reference or "x")):
        assert result.value is not None and 0.0 <= result.value <= 1.0
        assert all(0.0 <= value <= 1.0 for value in result.parts.values())


@pytest.mark.parametrize(
    "unit", ["There is a left pleural effusion. ", "no ", "**", "- ", "a", "\n1. ", "which would ", "<think>"]
)
def test_long_outputs_are_linear(unit):
    text = (unit * 100_000)[:100_000]
    start = time.process_time()
    radrscore(text, CHAIN, REPORT)
    assert time.process_time() - start < 5.0


#: One sentence that asserts each class, without its opening.
ASSERTIONS = {
    "Atelectasis": "atelectasis",
    "Cardiomegaly": "cardiomegaly",
    "Consolidation": "consolidation",
    "Edema": "pulmonary edema",
    "Enlarged Cardiomediastinum": "mediastinal widening",
    "Fracture": "fracture",
    "Lung Lesion": "lung lesion",
    "Lung Opacity": "lung opacity",
    "Pleural Effusion": "pleural effusion",
    "Pleural Other": "pleural thickening",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
    "Support Devices": "support device",
}


def test_real_reports_tell_assertions_from_denials(data_dir):
    """Coded positives must favour the assertion, coded-normal reports the denial, in at least 97% of pairs."""
    folder = data_dir / "iu"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not at hand")
    with (folder / "indiana_reports.csv").open(encoding="utf-8") as file:
        texts = {r["uid"]: f"Findings: {r['findings']}\n\nImpression: {r['impression']}" for r in csv.DictReader(file)}
    right: dict[bool, list[bool]] = {True: [], False: []}
    with (folder / "gold_dev.csv").open(encoding="utf-8") as file:
        for gold in csv.DictReader(file):
            for name, words in ASSERTIONS.items():
                present = gold[name] == "1"
                if not present and gold["No Finding"] != "1":
                    continue
                report = texts[gold["uid"]]
                said, denied = (score(t, report)["factuality"] for t in (f"There is {words}.", f"No {words}."))
                right[present].append(said > denied if present else denied > said)
    for present, pairs in right.items():
        assert len(pairs) > 900 and sum(pairs) / len(pairs) >= 0.97, (present, sum(pairs) / len(pairs))
