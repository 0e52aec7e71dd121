"""RadRScore, the process score of ChestX-Reasoner (arXiv 2504.20930, section 3.4), by rules instead of a judge.

    factuality    consistent claims / claims of the completion, against the report (silence is read as normal)
    completeness  recalled words / words of the reference chain; the words of a finding only if it is claimed
    effectiveness supported steps / steps of the completion, against the reference chain
    RadRScore     their mean

A claim is what one phrase asserts, a step what asserts one thing: a claim, or the denials of one list. Sentences that
assert nothing (plans, questions, histories, textbook knowledge) are neither. What was said before, or follows from it,
earns nothing again. Verified labels, where the study has them, outweigh the report. All credits: `docs/rewards.md`.

An example. The completion gets the effusion right, denies again what it has denied, and makes up a fracture:

>>> report = "FINDINGS: Small left pleural effusion. No pneumothorax."
>>> chain = "There is a small left pleural effusion. No pneumothorax."
>>> text = "There is a left pleural effusion and a rib fracture. No pneumothorax. No right pneumothorax."
>>> score = radrscore(text, chain, report)
>>> {part: round(value, 2) for part, value in score.parts.items()}
{'factuality': 0.67, 'completeness': 0.68, 'effectiveness': 0.5}
>>> for entry in score.evidence:
...     if entry["part"] == "factuality":
...         print(f"{entry['words']}: {entry['verdict']} {entry['credit']}")
left pleural effusion: supported 1.0
rib fracture: unsupported 0.0
No pneumothorax: supported 1.0
No right pneumothorax: repeated None

Its four steps are the same, but there the repetition counts: 2 of 4. Of the chain's words it misses "small".

Read on in `parts` (the formula), `gold` (how a claim fares against a row), `verdicts` (against a text), `recall` and
`terms` (completeness), `claims` and `reading` (what a text says).
"""

from rewards.radrscore.gold import Gold, Judgement, read_gold
from rewards.radrscore.parts import PARTS, Entry, Part, radrscore
from rewards.radrscore.verdicts import Verdict

__all__ = ["PARTS", "Entry", "Gold", "Judgement", "Part", "Verdict", "radrscore", "read_gold"]
