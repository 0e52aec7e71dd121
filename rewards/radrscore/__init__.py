"""RadRScore, the process score of ChestX-Reasoner (arXiv 2504.20930, section 3.4), by rules."""

from rewards.radrscore.parts import PARTS, Entry, radrscore

__all__ = ["PARTS", "Entry", "radrscore"]
