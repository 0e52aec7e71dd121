"""Cells of a row as text, texts or numbers, whatever a spreadsheet or a data frame left in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def text(value: Any) -> str:
    """A cell as text; empty for None and for what pandas writes into empty cells."""
    if value is None or value != value:
        return ""
    words = str(value).strip()
    return "" if words.lower() in ("nan", "none", "null", "n/a", "<na>") else words


def verbatim(value: Any) -> str:
    """As text; what is a text stays as it stands, for an option or an answer may be `None`."""
    return value.strip() if isinstance(value, str) else text(value)


def texts(value: Any) -> list[str]:
    """A cell that holds one text or a list of them."""
    values = value if isinstance(value, list | tuple) else () if isinstance(value, dict) else (value,)
    return [words for item in values if (words := text(item))]


def number(value: Any) -> float:
    """A cell as a number, for ordering; infinity when it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("inf")


def get(row: Mapping[str, Any], *names: str) -> Any:
    """The first of `names` that the row has a value for."""
    return next((row[name] for name in names if row.get(name) not in (None, "", [], {})), None)
