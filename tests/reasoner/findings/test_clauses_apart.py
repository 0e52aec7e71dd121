"""Each side belongs to its own clause: what is said of the left says nothing of the right."""

import pytest

from reasoner.findings.sentence import read_sentence

CASES = [
    ("The left lung is clear while the right lung shows an opacity.", {("lung_opacity", "present", "right")}),
    ("While the left lung appears clear, the right lung shows an opacity.", {("lung_opacity", "present", "right")}),
    ("The right lung shows an opacity, while the left lung is clear.", {("lung_opacity", "present", "right")}),
    (
        "Although the left lung is clear, there is an effusion on the right.",
        {("pleural_effusion", "present", "right"), ("lung_opacity", "absent", "left")},
    ),
    (
        "The right costophrenic angle is blunted and the left is sharp.",
        {("costophrenic_blunting", "present", "right"), ("pleural_effusion", "absent", "left")},
    ),
    (
        "The right hemidiaphragm is elevated, whereas the left is normal.",
        {("elevated_diaphragm", "present", "right"), ("elevated_diaphragm", "absent", "left")},
    ),
    (
        "The left hemidiaphragm is obscured by an effusion while the right is well seen.",
        {("pleural_effusion", "present", "left")},
    ),
    ("In contrast to the left lung, the right lung shows a nodule.", {("lung_nodule", "present", "right")}),
    (
        "No effusion on the right, but a small one on the left.",
        {("pleural_effusion", "absent", "right"), ("pleural_effusion", "present", "left")},
    ),
    # One clause, or one that says nothing of its own: the sides are its finding's.
    ("There is opacity in the left and right lungs, which are new.", {("lung_opacity", "present", "bilateral")}),
    ("The left lung is smaller and shows consolidation.", {("consolidation", "present", "left")}),
    ("The left lung is clear except for an opacity at the base.", {("lung_opacity", "present", "left")}),
]


@pytest.mark.parametrize(("sentence", "expected"), CASES)
def test_a_side_stays_in_its_clause(sentence, expected):
    found = {(f.concept, f.status, f.laterality) for f in read_sentence(sentence)}
    assert expected <= found
    sides = {(concept, status): side for concept, status, side in expected}
    assert all(sides.get((concept, status), side) == side for concept, status, side in found)


def test_a_size_of_an_organ_is_no_change():
    changes = [
        f.change for f in read_sentence("An increased cardiothoracic ratio is evident, pointing to cardiomegaly.")
    ]
    assert changes == [None]
    assert [f.change for f in read_sentence("The opacity has increased.")] == ["worse"]


@pytest.mark.parametrize(
    "sentence", ["Lung markings extend to the chest wall.", "Bronchovascular markings are normal."]
)
def test_markings_are_no_finding_by_themselves(sentence):
    assert not read_sentence(sentence)
    assert [f.concept for f in read_sentence("Increased lung markings are seen.")] == ["interstitial_markings"]


def test_a_degree_of_another_time_is_not_of_now():
    found = read_sentence("The left effusion, which was large before, is now small.")
    assert [(f.severity, f.laterality) for f in found] == [("small", "left")]


def test_the_resolution_of_a_picture_resolves_nothing():
    assert [f.change for f in read_sentence("I cannot see any fracture, but the resolution is limited.")] == [None]
    assert [f.change for f in read_sentence("There has been resolution of the effusion.")] == ["resolved"]


@pytest.mark.parametrize(
    ("sentence", "change"),
    [
        ("There is increased opacity in the right lower lobe.", None),
        ("There is increased density at the left base.", None),
        ("Increased opacity since the prior study.", "worse"),
        ("There is increased opacity at the left base compared with the previous film.", "worse"),
        ("The opacity has increased.", "worse"),
        ("There is an increasing opacity at the left base.", "worse"),
        ("There is interval increase in opacity.", "worse"),
        ("The effusion is increased.", "worse"),
    ],
)
def test_increased_density_is_a_change_where_it_is_compared(sentence, change):
    assert [found.change for found in read_sentence(sentence)] == [change]


@pytest.mark.parametrize("words", ["makes me suspect", "makes me think of", "brings to mind", "reminds me of"])
def test_what_comes_to_mind_is_left_open(words):
    assert [(found.concept, found.status) for found in read_sentence(f"This {words} pneumonia.")] == [
        ("pneumonia", "uncertain")
    ]


@pytest.mark.parametrize(
    ("sentence", "status"),
    [
        ("The cardiothoracic ratio is 0.62.", "present"),
        ("CTR: 58%.", "present"),
        ("The cardiothoracic ratio is greater than 0.5.", "present"),
        ("The CTR is 0.45.", "absent"),
        ("The cardiothoracic ratio is less than 50 %.", "absent"),
        ("The cardiothoracic ratio is not above 0.5.", "absent"),
        ("The cardiothoracic ratio is above 0.4.", None),
        ("The cardiothoracic ratio was not measured.", None),
    ],
)
def test_a_cardiothoracic_ratio_is_read_as_the_size_of_the_heart(sentence, status):
    assert [(f.concept, f.status) for f in read_sentence(sentence)] == [("cardiomegaly", status)] * bool(status)


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("Fluid is seen in the right pleural space.", [("pleural_effusion", "present", "right")]),
        ("Fluid has collected in the left pleural cavity.", [("pleural_effusion", "present", "left")]),
        ("No fluid is seen in the right pleural space.", [("pleural_effusion", "absent", "right")]),
        ("Air has entered the left pleural space.", [("pneumothorax", "present", "left")]),
        ("There is no air in either pleural cavity.", [("pneumothorax", "absent", None)]),
        ("Air is seen in the stomach.", []),
    ],
)
def test_what_is_in_the_pleural_space_is_read_from_where_it_is(sentence, told):
    assert [(f.concept, f.status, f.laterality) for f in read_sentence(sentence)] == told
