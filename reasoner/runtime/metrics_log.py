"""What trainers log, kept as JSON lines while they train: for `reasoner watch`, and for people's own tools."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reasoner.runtime.disk import write_whole


class MetricsLog:
    """The file `OUTPUT/logs/STAGE.metrics.jsonl`: a JSON object a line with `step`, `time` (seconds since 1970) and
    numbers by name."""

    def __init__(self, output: Path, stage: str):
        self.path = output / "logs" / f"{stage}.metrics.jsonl"

    def start(self, step: int) -> None:
        """Forgets what was logged after `step`, which is done again: everything, at 0."""
        write_whole(self.path, "".join(json.dumps(row) + "\n" for row in self.rows() if row["step"] <= step))

    def add(self, step: int, numbers: Mapping[str, Any]) -> None:
        """Adds a row of now."""
        row = {"step": step, "time": round(time.time(), 3), **numbers}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """The rows so far; a line that a kill cut short is passed over."""
        rows = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines() if self.path.is_file() else ():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                rows.append(row)
        return rows
