"""The words for all the findings that a phantom can have, with their degrees, tips, signs and causes."""

from __future__ import annotations

from reasoner.phantom.vocabulary import Vocabulary
from reasoner.phantom.words_few import FEW

_SOFT = (("mild",), ("moderate",))
_SIZE = (("small",), ("large", "extensive"))

_DEGREES = {
    "Atelectasis": _SOFT,
    "Cardiomegaly": (("mild",), ("severe", "marked")),
    "Consolidation": _SIZE,
    "Edema": (("mild",), ("severe", "marked")),
    "Enlarged Cardiomediastinum": (("mild",), ("severe", "marked")),
    "Lung Lesion": (("small",), ("large",)),
    "Lung Opacity": _SIZE,
    "Pleural Effusion": (("small",), ("moderate",), ("large",)),
    "Pleural Other": (("mild",), ("severe", "marked")),
    "Pneumonia": (("mild",), ("severe", "extensive")),
    "Pneumothorax": (("small",), ("large",)),
}

_NOUNS = {
    "Atelectasis": ("{d} {s} basilar atelectasis", "{d} atelectasis at the {s} lung base"),
    "Cardiomegaly": FEW.nouns["Cardiomegaly"],
    "Consolidation": (
        "{d} {s} {z} lung zone consolidation",
        "{d} consolidation in the {s} {z} lung zone",
        "{d} airspace consolidation in the {s} {z} lung zone",
    ),
    "Edema": ("{d} bilateral perihilar pulmonary edema", "{d} bilateral perihilar edema"),
    "Enlarged Cardiomediastinum": ("{d} mediastinal widening", "{d} widening of the mediastinum"),
    "Fracture": FEW.nouns["Fracture"],
    "Lung Lesion": (
        "{d} {s} {z} lung zone nodule",
        "{d} nodule in the {s} {z} lung zone",
        "{d} {s} {z} lung zone pulmonary nodule",
    ),
    "Lung Opacity": (
        "{d} hazy opacity in the {s} {z} lung zone",
        "{d} {s} {z} lung zone opacity",
        "{d} hazy {s} {z} lung zone opacity",
    ),
    "Pleural Effusion": FEW.nouns["Pleural Effusion"],
    "Pleural Other": ("{d} {s} pleural thickening", "{d} {s}-sided pleural thickening"),
    "Pneumonia": ("{d} {s} {z} lung zone pneumonia", "{d} pneumonia in the {s} {z} lung zone"),
    "Pneumothorax": FEW.nouns["Pneumothorax"],
    "central_line": (
        "{s} internal jugular central venous catheter{t}",
        "{s} central venous line{t}",
        "{s} IJ central line{t}",
    ),
    "chest_tube": ("{s} chest tube", "{s}-sided chest tube"),
    "compressive": ("{s} basilar compressive atelectasis", "compressive atelectasis at the {s} lung base"),
    "endotracheal_tube": ("endotracheal tube{t}", "ET tube{t}"),
    "enteric_tube": ("enteric tube{t}", "nasogastric tube{t}"),
    "pacemaker": FEW.nouns["pacemaker"],
}

_TIPS = {
    ("central_line", False): (" with its tip in the superior vena cava", " with its tip in the SVC"),
    ("central_line", True): (" with its tip in the right atrium",),
    ("endotracheal_tube", False): (" with its tip above the carina",),
    ("endotracheal_tube", True): (" with its tip in the right main bronchus", " ending in the right mainstem bronchus"),
    ("enteric_tube", False): (" with its tip in the stomach", " ending in the stomach"),
    ("enteric_tube", True): (" with its tip in the esophagus", " ending in the esophagus"),
}

_EXTRA = {
    "Cardiomegaly": FEW.extra["Cardiomegaly"],
    "Enlarged Cardiomediastinum": ("The mediastinum is {dly} widened.", "The upper mediastinum is {dly} widened."),
    "Fracture": FEW.extra["Fracture"],
}

_KNOWN_BY = {
    "Atelectasis": ("The {s} hemidiaphragm is elevated.", "There is elevation of the {s} hemidiaphragm."),
    "Edema": ("Bilateral Kerley B lines are seen.", "There are bilateral Kerley B lines."),
    "Pneumonia": ("The {s} {z} lung zone consolidation contains air bronchograms.",),
}

_BECAUSE = {
    ("Cardiomegaly", "Edema"): ("Together with the enlarged heart this is heart failure.",),
    ("Cardiomegaly", "Pleural Effusion"): ("The enlarged heart explains the effusions.",),
    ("Fracture", "Pneumothorax"): ("The pneumothorax is caused by the rib fracture.",),
    ("Pleural Effusion", "compressive"): ("The effusion compresses the adjacent lung.",),
    ("Pneumonia", "Pleural Effusion"): ("The effusion is parapneumonic.",),
    ("Pneumothorax", "chest_tube"): ("The chest tube was placed for the pneumothorax.",),
    ("central_line", "Pneumothorax"): ("The pneumothorax follows placement of the central line.",),
    ("endotracheal_tube", "Atelectasis"): (
        "The left lung is collapsed because the endotracheal tube is in the right main bronchus.",
    ),
}

_HIDDEN = {
    "Lung Lesion": (
        "A {s} {z} lung zone nodule as seen before cannot be excluded behind the effusion.",
        "The {s} {z} lung zone nodule of the prior study cannot be excluded behind the effusion.",
    )
}

_DENSE = ("Consolidation", "Lung Opacity", "Pneumonia")
_LUNGS = ("Atelectasis", *_DENSE, "Edema", "Lung Lesion")
_PLEURA = ("Pleural Effusion", "Pneumothorax")
_NORMAL = (
    (("Consolidation", *_PLEURA), FEW.normal[0][1][:2]),
    (_LUNGS, ("The lungs are clear.", "Lungs are clear bilaterally.")),
    (_PLEURA, FEW.normal[2][1]),
    (("Pleural Effusion",), FEW.normal[3][1]),
    (("Pneumothorax",), FEW.normal[4][1]),
    (("Consolidation",), FEW.normal[5][1]),
    (("Lung Lesion",), FEW.normal[6][1]),
    (("Cardiomegaly",), FEW.normal[7][1]),
    (("Fracture",), FEW.normal[8][1]),
    (_LUNGS, ("No lung opacity.", "There is no pulmonary opacity.")),
    (("Edema",), ("No pulmonary edema.", "There is no pulmonary edema.")),
    (("Atelectasis",), ("No atelectasis.", "There is no atelectasis.", "The trachea is midline.")),
    (("Pneumonia",), ("No pneumonia.", "There is no evidence of pneumonia.")),
    (("Pleural Other",), ("No pleural thickening.", "There is no pleural thickening.")),
    (
        ("Enlarged Cardiomediastinum",),
        ("The mediastinum is not widened.", "No mediastinal widening.", "The mediastinal contours are normal."),
    ),
    (("Support Devices",), ("No lines or tubes.", "No support devices.")),
    ((), ("Hilar contours are normal.",)),
)

ALL = Vocabulary(
    _DEGREES,
    _NOUNS,
    _EXTRA,
    _NORMAL,
    tips=_TIPS,
    known_by=_KNOWN_BY,
    because=_BECAUSE,
    hidden=_HIDDEN,
    bare=(*FEW.bare, "atelectasis", "edema", "widening", "thickening", "pneumonia"),
)
