"""Measurements; each file is a script of its own."""

import os
from pathlib import Path

#: Real reports, which are never in the repository: `CXR_REASONER_DATA`, else `shared/data` beside it.
DATA = Path(os.environ.get("CXR_REASONER_DATA") or Path(__file__).parents[2] / "shared" / "data")
#: The file of a reward that moves any policy, for `grpo.reward_files`.
VOWELS = Path(__file__).parent / "own_rewards" / "vowels.py"
