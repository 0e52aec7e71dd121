"""The shapes that cross a boundary. Every stage reads and writes these and nothing else.

All classes are frozen; `to_dict` / `from_dict` turn them into plain Python (and so into JSON and Arrow) and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args

from reasoner.errors import UserError

Status = Literal["present", "absent", "uncertain"]
Laterality = Literal["left", "right", "bilateral"]
Change = Literal["new", "worse", "stable", "improved", "resolved"]
Split = Literal["train", "val", "test", "site_b", "site_c"]
#: Whose labels they are: `verified` ones do not depend on the report (experts read the image, or it was drawn with
#: them) and may overrule it; `mined` ones were made from the report by a program, and may not.
LabelSource = Literal["verified", "mined"]

STATUSES: tuple[str, ...] = get_args(Status)
CHANGES: tuple[str, ...] = get_args(Change)
SPLITS: tuple[str, ...] = get_args(Split)
LABEL_SOURCES: tuple[str, ...] = get_args(LabelSource)

NO_FINDING = "No Finding"
#: The 14 CheXpert classes (Irvin et al. 2019, arXiv 1901.07031, table 1), in alphabetical order.
CLASSES: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    NO_FINDING,
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
)

#: The order of a systematic read (NV-Reason-CXR, arXiv 2510.23968), used as `Step.stage`; `plan` opens a
#: question-conditioned chain (ChestX-Reasoner, arXiv 2504.20930), `comparison` and `conclusion` close one.
READ_ORDER: tuple[str, ...] = (
    "plan",
    "quality",
    "devices",
    "airways",
    "lungs",
    "pleura",
    "mediastinum",
    "hila",
    "heart",
    "abdomen",
    "bones",
    "comparison",
    "conclusion",
)

#: `Example.task`; `stage` is one of the eight CXRTrek stages, whose number is in `Example.stage`.
Task = Literal[
    "abnormality_list",
    "binary",
    "single",
    "multiple",
    "anomaly",
    "temporal",
    "detection",
    "grounding",
    "report",
    "stage",
]
TASKS: tuple[str, ...] = get_args(Task)

T = TypeVar("T", bound="Record")


class Record:
    """Plain-dict conversion shared by all shapes; nested records are declared in `_nested`."""

    _nested: dict[str, type[Record]] = {}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls: type[T], row: dict[str, Any]) -> T:
        """Builds the record from a mapping; unknown keys are ignored, missing ones take their defaults."""
        values = {}
        for known in fields(cls):  # type: ignore[arg-type]
            if known.name not in row:
                continue
            value, nested = row[known.name], cls._nested.get(known.name)
            if nested is not None and value is not None:
                value = nested.from_dict(value) if isinstance(value, dict) else tuple(map(nested.from_dict, value))
            elif isinstance(value, list):
                value = tuple(value)
            values[known.name] = value
        return cls(**values)


@dataclass(frozen=True)
class Evidence(Record):
    """A span of a text: `text[start:end]`, in characters; `section` names the part of the report it lies in."""

    section: str
    start: int
    end: int


@dataclass(frozen=True)
class Finding(Record):
    """One assertion about one concept, with the words that make it.

    `size` is in millimetres (`12 mm`, `23 x 14 mm`); `tip` is where a device ends (`40 mm above carina`); `acuity` is
    acute, subacute, chronic, acute on chronic or indeterminate.
    """

    concept: str
    status: Status
    laterality: Laterality | None = None
    location: str | None = None
    severity: str | None = None
    change: Change | None = None
    evidence: Evidence | None = None
    size: str | None = None
    acuity: str | None = None
    tip: str | None = None

    _nested = {"evidence": Evidence}


@dataclass(frozen=True)
class Step(Record):
    """One sentence of reasoning. `evidence` is the span of the report behind it; `None` means that the report's
    silence is read as normal (or, in stages `plan` and `conclusion`, that the step asserts nothing new)."""

    text: str
    stage: str
    findings: tuple[Finding, ...] = ()
    evidence: Evidence | None = None

    _nested = {"findings": Finding, "evidence": Evidence}


@dataclass(frozen=True)
class Chain(Record):
    """The ordered steps of one read."""

    steps: tuple[Step, ...]

    _nested = {"steps": Step}

    @property
    def text(self) -> str:
        return " ".join(step.text for step in self.steps)

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(finding for step in self.steps for finding in step.findings)


@dataclass(frozen=True)
class Box(Record):
    """Where a finding is in the study's first image, as shares of its width and height; `reader` counts from 1."""

    label: str
    x0: float
    y0: float
    x1: float
    y1: float
    reader: int = 1


@dataclass(frozen=True)
class Study(Record):
    """One examination of one patient: its images, its report, and labels where the collection has them."""

    study_id: str
    patient_id: str
    report: str
    images: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    prior_study_id: str | None = None
    prior_images: tuple[str, ...] = ()
    #: What was written about the prior; not kept in the data set.
    prior_report: str = ""
    sections: dict[str, str] | None = None
    #: Verified labels: class -> present | absent | uncertain; a class that is missing or None was not looked at.
    labels: dict[str, str | None] | None = None
    #: Labels that come with the collection but were made by a program (CheXpert, NegBio): for comparison only.
    official_labels: dict[str, str | None] | None = None
    boxes: tuple[Box, ...] = ()
    #: The questions that come with the collection; a study that has any is asked no others.
    given: tuple[Example, ...] = ()
    split: str = "train"
    source: str = ""
    #: Where it stands in its collection (`file:row`); not kept in the data set.
    where: str = field(default="", compare=False)

    @property
    def label_source(self) -> LabelSource:
        """Whose labels the study's examples carry."""
        return "verified" if verified_labels(self.labels, None) else "mined"

    def rewarded_labels(self, mined: dict[str, str | None]) -> dict[str, str | None] | None:
        """`Example.labels`. Verified ones are not completed by mined ones, which must not overrule the report."""
        return self.labels if self.label_source == "verified" else mined


@dataclass(frozen=True)
class Target(Record):
    """What the answer to a question of a dialogue is graded by, as its collection says it (`rewards/stage.py`)."""

    #: `yes_no`, `single-choice`, `multi-choice`, `detection` or `captioning`; "" is told from options and answer.
    kind: str = ""
    #: All options, also those that the question spells out.
    options: tuple[str, ...] = ()
    #: The right options in their words; of a text other words that are as right as the answer.
    chosen: tuple[str, ...] = ()
    #: x0, y0, x1, y1 of each box in turn, in the units of the answer.
    boxes: tuple[float, ...] = ()


@dataclass(frozen=True)
class Turn(Record):
    """An earlier question of the same conversation and its answer, which the model is shown before its own.

    Where `reasoning` is known, "" included, the turn is shown as the model is taught to write it; where it is None
    (data sets of one row a stage) the answer stands alone.
    """

    question: str
    answer: str
    options: tuple[str, ...] = ()
    reasoning: str | None = None
    #: How many of the conversation's images are shown by then; None is as many as its row shows in all.
    images: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Without what is None, so that what was made of earlier data sets stays current."""
        return {name: value for name, value in super().to_dict().items() if value is not None}


@dataclass(frozen=True)
class Asked(Record):
    """One question of a dialogue, with all that belongs to it alone (`reasoner/dialogues.py`)."""

    id: str
    question: str
    answer: str
    reasoning: str = ""
    options: tuple[str, ...] = ()
    #: How many of the dialogue's images are shown by then, from the first.
    images: int = 0
    steps: tuple[Step, ...] = ()
    stage: int | None = None
    target: Target | None = None

    _nested = {"steps": Step, "target": Target}


@dataclass(frozen=True)
class Example(Record):
    """One training or evaluation row: a question about images, its reasoning and its answer."""

    id: str
    study_id: str
    task: str
    question: str
    answer: str
    reasoning: str = ""
    options: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    gold_findings: tuple[Finding, ...] = ()
    #: The labels to be rewarded: the study's verified ones, complete or not, else those mined from its report.
    labels: dict[str, str | None] | None = None
    #: Which of the two `labels` are; `None` without labels.
    label_source: LabelSource | None = None
    report: str = ""
    steps: tuple[Step, ...] = ()
    stage: int | None = None
    boxes: tuple[Box, ...] = ()
    split: str = "train"
    source: str = ""
    #: The turns before this one, about the same images; empty but in a dialogue.
    context: tuple[Turn, ...] = ()
    #: How the answer is graded, where the task alone does not say.
    target: Target | None = None
    #: All questions of a dialogue, which is one row: then `question` and `answer` are empty (`reasoner/dialogues.py`).
    turns: tuple[Asked, ...] = ()

    _nested = {
        "gold_findings": Finding,
        "steps": Step,
        "context": Turn,
        "boxes": Box,
        "target": Target,
        "turns": Asked,
    }

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Example:
        """As every record; labels that do not say whose they are (older data sets) count as mined."""
        if row.get("labels") and not row.get("label_source"):
            row = {**row, "label_source": "mined"}
        return super().from_dict(row)


Study._nested = {"boxes": Box, "given": Example}


@dataclass(frozen=True)
class Rejected(Record):
    """An input row that could not be used: where it stands (`file:row`) and why. Ends in `quarantine.jsonl`."""

    source: str
    where: str
    reason: str
    detail: str = ""
    study_id: str | None = None


def verified_labels(labels: Mapping[str, str | None] | None, source: str | None) -> dict[str, str]:
    """What somebody verified: class -> present | absent | uncertain, without the classes that nobody looked at.

    Args:
        labels: of a study or a row, complete or not. A verified `No Finding` says that all other classes are absent.
        source: whose they are (`LABEL_SOURCES`); labels that do not say count as verified.

    Raises:
        UserError: another source.
    """
    if source not in (None, *LABEL_SOURCES):
        raise UserError(f"column 'label_source' must be {' or '.join(LABEL_SOURCES)}, found {repr(source)[:40]}")
    if source == "mined" or not labels:
        return {}
    said = {name: status for name, status in labels.items() if status is not None}
    if said.get(NO_FINDING) == "present" and all(said[name] == "absent" for name in said if name != NO_FINDING):
        return {**dict.fromkeys(CLASSES, "absent"), **said}
    return said


def complete_labels(verified: Mapping[str, str], mined: Mapping[str, str | None]) -> dict[str, str | None]:
    """All `CLASSES`: as `verified_labels` says, else as mined. `No Finding` holds if no other may hold, unless it was
    verified to be absent."""
    labels = {name: verified.get(name, mined.get(name)) for name in CLASSES}
    found = any(labels[name] in ("present", "uncertain") for name in CLASSES if name != NO_FINDING)
    labels[NO_FINDING] = "absent" if found or verified.get(NO_FINDING) == "absent" else "present"
    return labels


def present_classes(labels: Mapping[str, str | None]) -> tuple[str, ...]:
    """The classes that hold, in `CLASSES` order; `("No Finding",)` when none does."""
    found = tuple(name for name in CLASSES if name != NO_FINDING and labels.get(name) == "present")
    return found or (NO_FINDING,)
