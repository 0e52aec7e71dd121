"""RadEval: its RadGraph imports the package by a name that it no longer has (RadEval issue 27)."""

from __future__ import annotations

import sys
from types import ModuleType

WRITTEN_FOR = "2.2"


def import_radeval() -> ModuleType:
    """The package, also under its former name. Raises ImportError where it is not installed.

    Guard: tests/rewards/test_radeval.py.
    """
    import radeval

    sys.modules.setdefault("RadEval", radeval)
    return radeval
