"""The words for the few findings of a phantom that is learned in minutes."""

from __future__ import annotations

from reasoner.phantom.vocabulary import Vocabulary

_DEGREES = {
    "Cardiomegaly": (("mild",), ("moderate", "severe", "marked")),
    "Consolidation": (("focal", "patchy"), ("dense", "extensive")),
    "Lung Lesion": (("9 mm", "1 cm", "small"), ("2 cm", "large")),
    "Pleural Effusion": (("small", "trace"), ("moderate", "moderate-sized"), ("large",)),
    "Pneumothorax": (("small", "small apical"), ("large", "moderate-to-large")),
}

_NOUNS = {
    "Cardiomegaly": ("{d} cardiomegaly", "{d} enlargement of the cardiac silhouette", "{d} cardiac enlargement"),
    "Consolidation": (
        "{d} consolidation in the {s} {z} lung",
        "{d} {s} {z} lung zone consolidation",
        "{d} airspace consolidation in the {s} {z} lung zone",
    ),
    "Fracture": (
        "displaced {s} rib fracture",
        "displaced fracture of a {s} posterior rib",
        "displaced {s}-sided rib fracture",
    ),
    "Lung Lesion": (
        "{d} nodule in the {s} {z} lung",
        "{d} {s} {z} lung nodule",
        "{d} rounded nodule in the {s} {z} lung zone",
        "{d} {s} {z} lung zone pulmonary nodule",
    ),
    "Pleural Effusion": ("{d} {s} pleural effusion", "{d} {s}-sided pleural effusion", "{d} {s} effusion"),
    "Pneumothorax": ("{d} {s} pneumothorax", "{d} {s}-sided pneumothorax"),
    "central_line": (
        "{s} internal jugular central venous catheter",
        "{s} central venous line",
        "{s} IJ central line",
    ),
    "endotracheal_tube": ("endotracheal tube", "ET tube"),
    "pacemaker": ("{s} chest wall pacemaker", "{s}-sided single-lead pacemaker", "{s} pectoral pacemaker"),
}

_EXTRA = {
    "Cardiomegaly": (
        "The heart is {dly} enlarged.",
        "The cardiac silhouette is {dly} enlarged.",
        "Heart size is {dly} enlarged.",
    ),
    "central_line": (
        "{S} internal jugular central venous catheter terminates in the SVC.",
        "{S} central venous line with tip in the superior vena cava.",
        "A {s} IJ central line ends in the lower SVC.",
    ),
    "endotracheal_tube": (
        "The endotracheal tube tip is above the carina.",
        "Endotracheal tube in standard position.",
        "ET tube terminates 4 cm above the carina.",
    ),
    "pacemaker": (
        "{S} chest wall pacemaker with lead in the right ventricle.",
        "A {s}-sided pacemaker is in place with its lead in the right ventricle.",
    ),
    "Fracture": ("There is a displaced fracture of a {s} rib.", "Displaced fracture of a {s} posterior rib is seen."),
}

_LUNGS = ("Consolidation", "Lung Lesion")
_PLEURA = ("Pleural Effusion", "Pneumothorax")
_NORMAL = (
    (_LUNGS + _PLEURA, ("No focal consolidation, pleural effusion, or pneumothorax.",
                      "There is no focal consolidation, pleural effusion or pneumothorax.",
                      "The lungs are clear without consolidation, effusion or pneumothorax.")),
    (_LUNGS, ("The lungs are clear.", "Lungs are clear bilaterally.", "The lungs are clear of nodules.")),
    (_PLEURA, ("No pneumothorax or pleural effusion.", "No pleural effusion or pneumothorax is seen.",
              "There is no pleural effusion or pneumothorax.")),
    (("Pleural Effusion",), ("No pleural effusion.", "There is no pleural effusion.",
                             "Costophrenic angles are sharp.")),
    (("Pneumothorax",), ("No pneumothorax.", "There is no evidence of pneumothorax.", "No pneumothorax is seen.")),
    (("Consolidation",), ("No focal consolidation.", "There is no focal consolidation.")),
    (("Lung Lesion",), ("No pulmonary nodule.", "No suspicious pulmonary nodule or mass.")),
    (("Cardiomegaly",), ("Heart size is normal.", "The heart is normal in size.", "The cardiac silhouette is normal.",
                         "Cardiac silhouette is within normal limits.", "The heart is not enlarged.")),
    (("Fracture",), ("No acute osseous abnormality.", "The osseous structures are intact.",
                     "No displaced rib fracture.", "No acute fracture is seen.")),
    ((), ("The mediastinal contours are normal.", "The mediastinum is unremarkable.", "Hilar contours are normal.",
          "Pulmonary vasculature is normal.", "The trachea is midline.", "No pulmonary edema.")),
)  # fmt: skip

FEW = Vocabulary(_DEGREES, _NOUNS, _EXTRA, _NORMAL)
