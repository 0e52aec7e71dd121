"""CXRTrek: JSON of studies whose `content` lists questions and answers in eight stages, used as they are.

A study is one dialogue (`reasoner/dialogues.py`) in the order of the file, in which its authors ask. It may stand by
itself or below `data_dict.cxrtrek_data`, as in the training files for ms-swift. Its last stage-8 answer is its report.
Boxes of questions for a place are the study's, too.
`image` lists the current pictures, then those of the reference study; `image_input_count` says how many of them a
question shows; later ones see them, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reasoner.boxes import GRID
from reasoner.dialogues import relinked
from reasoner.findings.lexicon import matched
from reasoner.schema import Box, Example, Rejected, Study, Target
from reasoner.sources.base import Partition
from reasoner.sources.io.cells import get, text, texts, verbatim
from reasoner.sources.io.checks import official_split, split_of
from reasoner.sources.io.collection import Collection, Outcome, Pictures
from reasoner.sources.io.files import require
from reasoner.sources.io.json_rows import json_keys, json_parts, read_json

BYTES = 8 * 2**20  # per partition
FIELDS = ("content", "data_dict", "cxrtrek_data", "messages", "image", "images", "study_id", "pat_id", "source", "id")
LAST_STAGE = 8
#: Why a box is left out though its question is kept.
OFF_GRID = "box off the grid"
#: What names of kinds of questions contain -> the kind (`Target.kind`), in the order of trying.
KINDS = (("yes", "yes_no"), ("single", "single-choice"), ("multi", "multi-choice"), ("detect", "detection"),
         ("ground", "detection"), ("bbox", "detection"), ("caption", "captioning"), ("report", "captioning"),
         ("open", "captioning"))  # fmt: skip
_PLACEHOLDER = re.compile(r"\s*(?:[A-Z][^.:?!]*:)?\s*<image>\s*\.?\s*")
#: A study number that counts within its patient, as CheXpert's.
_WITHIN = re.compile(r"(?:study)?\d{1,4}", re.IGNORECASE)


class CxrtrekSource(Collection):
    """Args: input: a JSON file or the folder of such files. images: the folder that the pictures' paths are relative
    to; by default the input's, if any picture is there."""

    name = "cxrtrek"
    what = "a JSON file of CXRTrek, or the folder with such files"

    def partitions(self) -> Sequence[Partition]:
        """Byte ranges of the files: `{file, start, stop, number}`."""
        files = self.json_files()
        for path in files:
            keys = json_keys(path, FIELDS)
            if "data_dict" not in keys and "cxrtrek_data" not in keys:
                require(path, keys, ("content",))
        names = (name for path in files for row in read_json(path, FIELDS) for name in image_names(study_of(row.value)))
        pictures = self._pictures().present(self.images, names)
        return [
            {"file": str(path), "start": start, "stop": stop, "number": number, "pictures": pictures}
            for path in files
            for start, stop, number in json_parts(path, BYTES, FIELDS)
        ]

    def read(self, partition: Partition) -> Iterator[Outcome]:
        path = Path(partition["file"])

        def build(entry: Any, where: str) -> Iterator[Outcome]:
            yield from self._study(entry, where, path, partition["pictures"])

        place = {name: partition[name] for name in ("start", "stop", "number")}
        yield from self.each(read_json(path, FIELDS, **place), build)

    def files(self) -> list[Path]:
        return self.json_files()

    def _pictures(self) -> Pictures:
        base = self.input.parent if self.input.is_file() else self.input
        return Pictures.of(self.images, base, base / "images", base / "Images", base.parent)

    def _study(self, entry: Any, where: str, path: Path, pictures: bool) -> Iterator[Outcome]:
        inner = study_of(entry)
        content = inner.get("content")
        if not isinstance(content, list) or not content:
            yield Rejected(self.name, where, "bad row", "'content' must be a list of questions", name_of(inner, where))
            return
        patient, study_id = _patient(inner) or name_of(inner, where), name_of(inner, where)
        split = official_split(text(inner.get("split"))) or official_split(path.name) or split_of(patient)
        reports = [
            text(item.get("answer")) for item in content if isinstance(item, dict) and stage_of(item) == LAST_STAGE
        ]
        report = reports[-1] if reports else ""
        named, reference = image_names(inner), text(inner.get("ref_study_id"))
        images = tuple(self._pictures().find(name) for name in named) if pictures else ()
        examples: list[Example] = []
        boxes: list[Box] = []
        shown = 0
        for number, item in enumerate(content):
            problem = problem_of(item, len(named))
            if problem:
                yield Rejected(self.name, f"{where}#content[{number}]", "bad row", problem, study_id)
                continue
            stage, question, target = stage_of(item), question_of(item), target_of(item)
            own = boxes_of(question, target) if target.kind in ("detection", "") else []
            if None in own:
                yield Rejected(
                    self.name, f"{where}#content[{number}]", OFF_GRID, f"{item['bbox_list']!r}"[:80], study_id
                )
            boxes += filter(None, own)
            shown = max(shown, count_of(item, len(named)))  # what an earlier question showed is seen by later ones
            examples.append(
                Example(
                    id=f"{study_id}-stage{stage}-{number}",
                    study_id=study_id,
                    task="stage",
                    question=question,
                    answer=verbatim(item["answer"]),
                    options=options_beside(question, item),
                    images=images[:shown],
                    report=report,
                    stage=stage,
                    split=split,
                    source=self.name,
                    target=target,
                )
            )
        if not examples:
            yield Rejected(self.name, where, "bad row", "no usable question", study_id)
            return
        study = Study(
            study_id=study_id,
            patient_id=patient,
            report=report,
            images=images,
            prior_study_id=reference or None,
            given=tuple(relinked(examples)),
            boxes=tuple(boxes),
            split=split,
            source=self.name,
        )
        checked = self.admit(
            replace(study, report=report or " ".join(e.answer for e in examples)), where, required=pictures
        )
        yield replace(checked, report=report) if isinstance(checked, Study) else checked


def study_of(entry: Any) -> dict[str, Any]:
    """The study, from below the wrappers of training files."""
    if not isinstance(entry, dict):
        return {}
    for wrapper in ("data_dict", "cxrtrek_data"):
        if isinstance(entry.get(wrapper), dict):
            entry = entry[wrapper]
    return entry


def _patient(entry: dict[str, Any]) -> str:
    return text(get(entry, "pat_id", "patient_id", "subject_id"))


def name_of(entry: dict[str, Any], where: str) -> str:
    """The study's identifier; the patient's is put before it where it only counts the studies of one patient."""
    study, patient = text(get(entry, "study_id", "id", "_key")), _patient(entry)
    if not study:
        return f"{patient}/{Path(where).name}" if patient else Path(where).name
    return f"{patient}/{study}" if patient and _WITHIN.fullmatch(study) else study


def image_names(entry: dict[str, Any]) -> list[str]:
    """The pictures' names: the current ones, then those of the reference study."""
    return texts(get(entry, "image", "images", "image_path"))


def stage_of(item: dict[str, Any]) -> int:
    """The stage as a number, also from "Stage 3" or "3. Attributes"; 0 when there is none."""
    digits = re.search(r"\d+", text(item.get("stage")))
    return int(digits.group()) if digits else 0


def problem_of(item: Any, pictures: int) -> str:
    """Why an item of `content` is no question about a study of so many `pictures` (0: it names none); "" where it is
    one."""
    if not isinstance(item, dict):
        return f"an item of 'content' must be an object, found {type(item).__name__}"
    for name, read in (("question", text), ("answer", verbatim)):
        if not read(item.get(name)):
            return f"'{name}' is missing or empty"
    if not 1 <= stage_of(item) <= LAST_STAGE:
        return f"'stage' must be 1 to {LAST_STAGE}, found {item.get('stage')!r}"
    if pictures and not 1 <= count_of(item, pictures) <= pictures:
        return f"'image_input_count' must be 1 to {pictures}, the study's pictures, found {item['image_input_count']!r}"
    return ""


def entries(item: dict[str, Any], name: str) -> list[str]:
    """The texts of a list of an item: `option_list`, `answer_list`."""
    value = item.get(name)
    return [words for words in map(verbatim, value) if words] if isinstance(value, list) else texts(value)


def count_of(item: dict[str, Any], pictures: int) -> int:
    """How many of the study's `pictures` a question shows, all where it does not say; -1 where that is no number."""
    count = text(item.get("image_input_count"))
    return pictures if not count else int(count) if re.fullmatch(r"[0-9]{1,4}", count) else -1


def options_beside(question: str, item: dict[str, Any]) -> tuple[str, ...]:
    """The options of an item that its question does not spell out, all or none. Stops and blanks aside: a list in a
    question has others."""
    options = tuple(entries(item, "option_list"))
    asked = " ".join(question.split()).casefold()
    bare = (re.escape(" ".join(option.split()).rstrip(" .;,").casefold()) for option in options)
    return () if all(re.search(rf"(?<!\w){words}(?!\w)", asked) for words in bare) else options


def target_of(item: dict[str, Any]) -> Target:
    """What the answer to an item is graded by."""
    return Target(
        kind_named([text(item.get("qtype")), text(item.get("task_type"))]),
        tuple(entries(item, "option_list")),
        tuple(entries(item, "answer_list")),
        tuple(number for box in box_list(item.get("bbox_list")) for number in box),
    )


def boxes_of(question: str, target: Target) -> list[Box | None]:
    """The boxes of a question that asks for a place, by the names of what it asks for; None for one that is not on the
    grid of 0 to 100 or has no area."""
    names = dict.fromkeys(term.roles["concept"] for term in matched(question).terms if "concept" in term.roles)
    label = ", ".join(name.replace("_", " ") for name in names) or question
    corners = [tuple(number / GRID for number in target.boxes[n : n + 4]) for n in range(0, len(target.boxes), 4)]
    return [
        Box(label, x0, y0, x1, y1) if 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 else None for x0, y0, x1, y1 in corners
    ]


def kind_named(names: Sequence[str]) -> str:
    """The kind of a question by its `qtype` and `task_type`; "" where they do not tell."""
    return next((kind for name in names for part, kind in KINDS if part in name.lower()), "")


def box_list(value: Any) -> list[list[float]]:
    """The boxes of `bbox_list`, or the single one that stands there; none where it holds anything else."""
    each = [value] if _is_box(value) else value
    boxes = isinstance(each, list) and all(map(_is_box, each))
    return [[float(number) for number in box] for box in each] if boxes else []


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(type(n) in (int, float) and abs(n) < 1e9 for n in value)


def question_of(item: dict[str, Any]) -> str:
    """The question without placeholders of images, which the chat template sets."""
    return " ".join(_PLACEHOLDER.sub(" ", text(item["question"])).split())
