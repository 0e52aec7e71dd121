"""The words that a kind of phantom is reported with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Choices = tuple[str, ...]


@dataclass(frozen=True)
class Vocabulary:
    """Words by `Sign.key`. In a template `{d}` is the degree's word, `{dly}` its adverb, `{s}` the side (`{S}` begins a
    sentence), `{z}` the zone and `{t}` where a device ends."""

    #: Words for the degrees 1, 2, ... of each class; several words for one degree are synonyms.
    degrees: Mapping[str, tuple[Choices, ...]]
    #: Noun phrases.
    nouns: Mapping[str, Choices]
    #: Sentences of their own making, beside the noun phrases.
    extra: Mapping[str, Choices]
    #: Normal statements by the classes they deny; said only when none of those was drawn.
    normal: tuple[tuple[Choices, Choices], ...]
    #: (kind of device, whether it is astray) -> where it ends.
    tips: Mapping[tuple[str, bool], Choices] = field(default_factory=dict)
    #: What is always said beside a finding that is asserted: the signs by which it is known.
    known_by: Mapping[str, Choices] = field(default_factory=dict)
    #: (cause, effect) -> how the report explains the effect, where it asserts both.
    because: Mapping[tuple[str, str], Choices] = field(default_factory=dict)
    #: What is said of a finding of the prior that something lies over.
    hidden: Mapping[str, Choices] = field(default_factory=dict)
    #: Words whose phrases take no article.
    bare: Choices = ("cardiomegaly", "enlargement")
