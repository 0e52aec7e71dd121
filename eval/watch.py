"""`reasoner watch`: a training that goes on, as a page of this machine (`eval/page/live.py`)."""

from __future__ import annotations

import time
from pathlib import Path

from eval.page.live import LIVE, Training, write_live
from reasoner.errors import UserError
from reasoner.layout import GRPO, SFT, TRAINER_STATE, WARM
from reasoner.runtime.disk import read_object
from reasoner.runtime.metrics_log import MetricsLog
from reasoner.runtime.terminal import say

#: Seconds between two looks at the logs.
EVERY_S = 4.0


def trainings(output: Path) -> list[Training]:
    """The trainings below a recipe's output, in order; of one that kept no log what its result tells.

    Raises:
        UserError: a result is damaged.
    """
    found = []
    for stage, folder in ((WARM, output / SFT / WARM), (SFT, output / SFT), (GRPO, output / GRPO)):
        rows = MetricsLog(output, stage).rows()
        if not rows and (folder / TRAINER_STATE).is_file():
            history = read_object(folder / TRAINER_STATE, "train again").get("log_history") or []
            rows = [row for row in history if isinstance(row, dict) and isinstance(row.get("step"), int)]
        if rows:
            found.append(Training(stage, rows, rows[-1].get("max_steps", 0)))
    return found


def watch(output: Path, *, once: bool) -> None:
    """Writes the page `OUTPUT/watch/index.html`, and anew while the process lives, unless `once`.

    Raises:
        UserError: there is no such folder, or `once` and nothing to show.
    """
    if not output.is_dir():
        raise UserError(f"{output}: no such folder; give a recipe's output, outputs/phantom say")
    if once and not trainings(output):
        raise UserError(f"{output}: nothing is logged there yet; start `reasoner sft` or `reasoner grpo`")
    name = output.resolve().name
    page = write_live(output / LIVE, name, trainings(output))
    say(f"open {page.resolve().as_uri()} in a browser" + ("" if once else "; it is kept up to date until Ctrl-C"))
    while not once:
        time.sleep(EVERY_S)
        write_live(output / LIVE, name, trainings(output))
