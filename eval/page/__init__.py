"""The page of a run: a folder with `index.html` that opens from a disk and needs no network.

`write_page` makes that of `reasoner eval --benchmark`, `report` also that of GRPO's rollouts. `cases.py` says what the
scripts are given; numbers above the cases are `summary.py`'s.
"""

from eval.page.write import report, write_page, write_rollouts_page

__all__ = ["report", "write_page", "write_rollouts_page"]
