"""Score one completion, with the evidence behind every number. Needs no model, no images and no Ray.

    python examples/score_one_completion.py

Takes about a second. The completion below is right about the effusion, puts it on the wrong side, adds an edema that
nobody saw, and leaves the enlarged heart out. Change it and see how the scores move.

For many completions use `reasoner score --input rows.jsonl --output scores.jsonl`: the same functions, line by line.
"""

from __future__ import annotations

from rewards import RewardSet, gated_total

COMPLETION = """\
<think>There is a small right pleural effusion. There is pulmonary edema. No pneumothorax.</think>
<answer>Pleural Effusion, Edema</answer>"""

#: What rewards may look at besides the completion. These labels are verified, so they outweigh the report.
ROW = {
    "task": "abnormality_list",
    "question": "Which abnormalities does this chest X-ray show?",
    "report": "The heart is enlarged. There is a small left pleural effusion. No pneumothorax.",
    "reasoning": "The heart is enlarged. There is a small left pleural effusion. No pneumothorax.",
    "answer": "Cardiomegaly, Pleural Effusion",
    "labels": {"Cardiomegaly": "present", "Pleural Effusion": "present", "Pneumothorax": "absent"},
}

#: Name -> weight, as `grpo.rewards` of a recipe has them.
WEIGHTS = {"format": 0.2, "answer": 1.0, "process": 1.5}


def main() -> None:
    rewards = RewardSet.build(WEIGHTS)
    scores = rewards.score({**ROW, "completion": COMPLETION})
    for name, score in scores.items():
        print(f"\n{name}: {score.outcome if score.value is None else format(score.value, '.3f')}")
        for part, value in score.parts.items():
            print(f"  {part} = {value:.3f}")
        for entry in score.evidence:
            print("  " + ", ".join(f"{key}: {value}" for key, value in entry.items() if value not in (None, "")))
    print(f"\ntotal = {gated_total(scores, WEIGHTS):.3f}  (weighted sum; a malformed completion earns nothing)")


if __name__ == "__main__":
    main()
