"""What all tests share: quiet, offline defaults, and the folder of real reports, which is never in the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before anything imports them: no network, no tracking service, no usage reports.
for name, value in {
    "WANDB_MODE": "disabled",
    "HF_HUB_OFFLINE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "MPLBACKEND": "Agg",
}.items():
    os.environ.setdefault(name, value)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real reports: `CXR_REASONER_DATA`, else `shared/data` beside the repository."""
    folder = Path(os.environ.get("CXR_REASONER_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real reports in {folder}; set CXR_REASONER_DATA to run this test")
    return folder
