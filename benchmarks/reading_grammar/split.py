"""Which constructions are held back from development."""

from __future__ import annotations

from hashlib import sha256


def held_back(construction: str) -> bool:
    """Fixed for ever by the name of a construction: the first byte of its SHA-256 is odd; but never one that was seen
    before it was read right, whose name ends in `*`."""
    return not construction.endswith("*") and sha256(construction.encode("utf-8")).digest()[0] % 2 == 1
