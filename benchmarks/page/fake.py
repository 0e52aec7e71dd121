"""Made-up runs and rollouts of any size with the files of real ones, graded and scored by the real code.

Some rows are wild: HTML and scripts, words without an end, right-to-left text, no picture or two, nothing written.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from eval.benchmarks.abnormality_list import AbnormalityList
from eval.benchmarks.base import Item
from eval.benchmarks.tables import EVIDENCE, ITEMS, QUESTIONS, RUN, SAMPLES, summarise_run
from reasoner.profiles import PROFILES
from reasoner.schema import Example
from rewards.registry import RewardSet

SENTENCES = {
    "Cardiomegaly": "The heart is enlarged.",
    "Pleural Effusion": "There is a small left pleural effusion [60, 50, 90, 100].",
    "Pneumothorax": "There is a right pneumothorax.",
    "Consolidation": "There is a consolidation in the right lower lobe.",
}
_QUESTION = "Which abnormalities are present?"
#: Shows whether a text of a model ran: the page must hold it as words.
ATTACK = "</script><script>window.broken=1</script><img src=x onerror='window.broken=1'><b>bold</b>"
_WILD = (
    ATTACK,
    "Pneumonoultramicroscopic" * 60,
    "<think>Das Herz ist vergrößert – 心臓が大きい. القلب متضخم 🫀\u2028\u2029</think><answer>Cardiomegaly</answer>",
    "",
    "\ud800 no pair",
    "<answer>Cardiomegaly</answer><answer>Edema</answer>",
)
_PROFILE = PROFILES["nv_reason"]
_REWARDS = {"answer": 1.0, "process": 1.0, "format": 1.0, "skill": 1.0}


def picture(path: Path, number: int, edge: int) -> None:
    """A grey gradient with a disc, another for each number; [edge, edge] pixels."""
    rows, columns = np.mgrid[:edge, :edge] / edge
    disc = (rows - 0.5) ** 2 + (columns - 0.3 - 0.05 * (number % 9)) ** 2 < 0.02
    Image.fromarray((200 * rows * ~disc + 255 * disc).astype(np.uint8)).save(path)


def completion(names: Sequence[str], draw: random.Random, skill: float) -> str:
    """A reading that says each thing rightly by so large a chance."""
    said = [name for name in SENTENCES if (name in names) == (draw.random() < skill)]
    denied = [name for name in SENTENCES if name not in said]
    words = [SENTENCES[name] for name in said] + [f"No {name.lower()}." for name in denied]
    draw.shuffle(words)
    return f"<think>{' '.join(words)}</think><answer>{', '.join(said) or 'No Finding'}</answer>"


def write_run(folder: Path, cases: int, labels: Sequence[str] = ("ours", "theirs"), *, edge: int = 96) -> Path:
    """A run of `abnormality_list` with so many cases; `edge` is that of its pictures in pixels. Its last label lacks
    every seventh case. Returns the folder."""
    draw, benchmark = random.Random(cases), AbnormalityList()
    rewards = RewardSet.build(_REWARDS)
    (folder / "films").mkdir(parents=True)
    items = list(_items(folder, cases, draw, edge))
    _lines(folder / QUESTIONS, (_question(item) for item in items))
    rows, evidence = [], []
    for place, label in enumerate(labels):
        for number, item in enumerate(items):
            if label == labels[-1] and number % 7 == 6:
                continue
            text = _WILD[number // 10 % len(_WILD)] if number % 10 == 3 else None
            text = completion(item.gold["classes"], draw, 0.9 - 0.2 * place) if text is None else text
            grade = benchmark.grade(item, text, _PROFILE.read_answer)
            asked = item.example
            scores = rewards.score(
                {
                    "completion": text,
                    "reasoning": asked.reasoning,
                    "report": asked.report,
                    "labels": asked.labels,
                    "answer": asked.answer,
                    "task": asked.task,
                    "question": asked.question,
                }
            )
            process = scores["process"]
            where = {"label": label, "table": item.table, "index": item.index}
            rows.append(
                where
                | {"id": asked.id, "study": asked.study_id, "official": grade.official, "strict": grade.strict}
                | {"radrscore": process.value, "factuality": None, "completeness": None, "effectiveness": None}
                | process.parts
                | {"skill": scores["skill"].value, "completion": text, "read": grade.read, "note": grade.note}
                | {
                    "values": dict(grade.values),
                    "counts": dict(grade.counts),
                    "tokens": None if place else len(text) // 4,
                }
            )
            evidence.append(where | {"evidence": list(process.evidence)})
    _lines(folder / ITEMS, rows)
    _lines(folder / EVIDENCE, evidence)
    _lines(folder / SAMPLES, [])
    described: dict[str, Any] = {
        "benchmark": benchmark.name,
        "profile": _PROFILE.to_dict(),
        "profiles": {label: _PROFILE.to_dict() for label in labels},
        "sampling": dict.fromkeys(labels),
        "models": {label: {"predictions": f"{label}.jsonl", "rows": len(items)} for label in labels},
        "data": {"input": "films.csv", "sha256": "0" * 64, "items": len(items)},
        "versions": {"python": "3.11"},
        "malformed": {
            "counts": {"films.csv": 2},
            "rows": [{"file": "films.csv", "line": line, "problem": f"<b>bad</b> {line}"} for line in (3, 8)],
        },
        "failures": {label: {"answers": 0} for label in labels},
        "published": [
            {
                "model": "Somebody's",
                "table": "frontal",
                "metric": "micro_f1",
                "value": 0.612,
                "source": "A paper, table 2, https://example.org/paper",
            }
        ],
        "judge": None,
    }
    (folder / RUN).write_text(json.dumps(described), encoding="utf-8")
    summarise_run(folder, benchmark, resamples=100, seed=0)
    return folder


def _items(folder: Path, cases: int, draw: random.Random, edge: int) -> Iterator[Item]:
    films = [folder / "films" / f"{number}.png" for number in range(cases)]
    for number, film in enumerate(films):
        picture(film, number, edge)
        names = [name for name in SENTENCES if draw.random() < 0.3]
        words = " ".join(SENTENCES[name] for name in names) or "The heart is normal in size. The lungs are clear."
        images = [film, *films[max(0, number - 1) : number]] if number % 5 == 4 else [] if number % 11 == 10 else [film]
        if number % 13 == 12:
            images = [folder / "films" / "missing.png"]
        classes = names or ["No Finding"]
        example = Example(
            id=f"film-{number}" + ("-" + "x" * 300 if number % 50 == 7 else ""),
            study_id=f"s{number // 2}",
            task="abnormality_list",
            question=_QUESTION + (f" {ATTACK}" if number % 20 == 5 else ""),
            answer=", ".join(classes),
            reasoning=words,
            report=f"FINDINGS: {words}",
            images=tuple(map(str, images)),
            labels={name: "present" if name in names else "absent" for name in SENTENCES},
            label_source="verified",
        )
        about = {"view": draw.choice(["frontal", "lateral"]), "age": draw.choice(["18-39", "40-59", "80+"])}
        about |= {"sex": draw.choice(["F", "M"])} if number % 3 else {}
        gold = {"classes": classes, "free": [], "solution": ", ".join(classes), "outside": []}
        table = "frontal" if number % 2 else "läteral & <other>"
        yield Item(table, number // 2, example, gold=gold, about=about)


def _question(item: Item) -> dict[str, Any]:
    asked = item.example
    names = ("id", "task", "question", "answer", "reasoning", "report", "labels", "stage")
    return (
        {"table": item.table, "index": item.index}
        | {name: getattr(asked, name) for name in names}
        | {"options": list(asked.options), "images": list(asked.images)}
        | {"about": dict(item.about), "conversation": item.conversation, "gold": dict(item.gold)}
    )


def write_rollouts(folder: Path, steps: Sequence[int], prompts: int = 3, samples: int = 4) -> Path:
    """`rollouts/step-*.parquet` of a policy that gets better, as `recipes/reward_bridge.py` writes them; returns the
    folder."""
    draw, rewards = random.Random(0), RewardSet.build({"answer": 1.0, "skill": 2.0, "format": 0.2})
    (folder / "rollouts").mkdir(parents=True)
    (folder / "films").mkdir()
    for step in steps:
        table = []
        for number in range(prompts):
            film = folder / "films" / f"{number}.png"
            if not film.exists():
                picture(film, number, 96)
            names = list(SENTENCES)[: number % len(SENTENCES)]
            words = " ".join(SENTENCES[name] for name in names) or "The heart is normal in size."
            asked = {
                "id": f"prompt-{number}",
                "task": "abnormality_list",
                "question": _QUESTION,
                "reasoning": words,
                "answer": ", ".join(names) or "No Finding",
                "report": words,
            }
            for sample in range(samples):
                text = ATTACK if not step and not sample else completion(names, draw, 0.5 + 0.4 * step / max(1, *steps))
                scores = rewards.score({**asked, "completion": text, "labels": None})
                table.append(
                    {"step": step, "images": [str(film)], **asked, "completion": text}
                    | {"edited": sample == 1, "edited_from": "what it was" if sample == 1 else "", "refilled": False}
                    | {f"{name}_reward": score.value for name, score in scores.items()}
                    | {"parts": json.dumps({k: v for s in scores.values() for k, v in s.parts.items()})}
                    | {"evidence": json.dumps({name: list(score.evidence) for name, score in scores.items()})}
                )
        pq.write_table(pa.Table.from_pylist(table), folder / "rollouts" / f"step-{step:06d}.parquet")
    return folder


def _lines(path: Path, rows: Any) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, default=str) + "\n" for row in rows)
