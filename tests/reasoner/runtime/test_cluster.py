"""Ray starts, whatever others have left on the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

START = """
from reasoner.runtime.cluster import ensure_ray
assert ensure_ray(1)
import ray
assert ray.cluster_resources()["CPU"] == 1
"""


@pytest.mark.slow
def test_the_address_of_another_cluster_is_not_ours_to_join():
    with TemporaryDirectory(prefix="r", dir="/tmp") as folder:  # short: Ray's sockets lie there
        (Path(folder) / "ray").mkdir()
        for place in (Path(folder), Path(folder) / "ray"):
            (place / "ray_current_cluster").write_text("127.0.0.1:9", encoding="utf-8")  # killed long ago
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        done = subprocess.run(
            [sys.executable, "-c", START],
            env={**environment, "RAY_TMPDIR": folder},
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
