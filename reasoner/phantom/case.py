"""What is drawn for one study, and what is true of it."""

from __future__ import annotations

from dataclasses import dataclass

from reasoner.phantom.body import Sign
from reasoner.schema import CLASSES, NO_FINDING, Change


@dataclass(frozen=True)
class Case:
    """What is drawn for one study: its findings and, with a prior, those of the prior.

    `hidden`: findings of the prior that are no longer seen because something of today lies over them.
    """

    signs: tuple[Sign, ...]
    prior: tuple[Sign, ...] | None = None
    hidden: tuple[Sign, ...] = ()

    @property
    def changes(self) -> dict[str, Change] | None:
        """`Sign.key` -> its change since the prior, for the findings of this study."""
        if self.prior is None:
            return None
        before = {sign.key: sign.degree for sign in self.prior}
        return {sign.key: _change(before.get(sign.key), sign.degree) for sign in self.signs}

    @property
    def resolved(self) -> tuple[Sign, ...]:
        """Findings of the prior that are gone."""
        there = {sign.key for sign in (*self.signs, *self.hidden)}
        return tuple(sign for sign in self.prior or () if sign.key not in there)

    @property
    def labels(self) -> dict[str, str | None]:
        """The complete truth over the 14 classes; what is hidden is uncertain."""
        found = {name for sign in self.signs for name in sign.classes} or {NO_FINDING}
        covered = {name for sign in self.hidden for name in sign.classes}
        return {name: "present" if name in found else "uncertain" if name in covered else "absent" for name in CLASSES}


def _change(before: int | None, now: int) -> Change:
    if before is None:
        return "new"
    return "worse" if now > before else "improved" if now < before else "stable"
