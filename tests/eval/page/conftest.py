"""One made-up run and one of GRPO's folders, with their pages."""

from __future__ import annotations

import pytest

from benchmarks.page.fake import write_rollouts, write_run
from eval.page import report


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("page") / "run é", 60)
    report(folder)
    return folder


@pytest.fixture(scope="session")
def grpo(tmp_path_factory):
    folder = write_rollouts(tmp_path_factory.mktemp("rollouts") / "grpo", [0, 20, 100])
    report(folder)
    return folder
