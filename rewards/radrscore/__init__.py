"""RadRScore, the process score of ChestX-Reasoner (arXiv 2504.20930, section 3.4), by rules."""

from rewards.radrscore.parts import PARTS, radrscore

__all__ = ["PARTS", "radrscore"]
