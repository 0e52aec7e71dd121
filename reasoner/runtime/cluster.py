"""The one place that starts Ray."""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path
from typing import Any, NamedTuple

import psutil


def ensure_ray(workers: int | None) -> bool:
    """Joins the running Ray, the cluster of RAY_ADDRESS, or starts a local one; whether this call did either."""
    import ray

    if ray.is_initialized():
        return False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, **quiet)
    else:
        # Otherwise Ray hides the GPUs from workers of no GPU by an environment variable, with a warning.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if not _home_keeps_a_token():
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))  # for this run alone
        # "local": not whichever cluster somebody has started on this machine.
        ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
    return True


def _home_keeps_a_token() -> bool:
    """Whether Ray finds its authentication token in the home folder, or can leave a new one there."""
    try:
        folder = Path.home() / ".ray"
        folder.mkdir(exist_ok=True)
    except (OSError, RuntimeError):  # read-only, missing, or a user without a home
        return False
    return (folder / "auth_token").is_file() or os.access(folder, os.W_OK)


class Place(NamedTuple):
    """Where an actor lives: Ray's id of the node, and the process there."""

    node: str
    pid: int

    @classmethod
    def mine(cls) -> Place:
        import ray

        return cls(ray.get_runtime_context().get_node_id(), os.getpid())

    def computed(self) -> float | None:
        """The CPU seconds that the process has had; None where it has ended or is on another node."""
        process = self._process()
        return None if process is None else sum(process.cpu_times()[:2])

    def computes(self) -> bool:
        """Whether the process has a CPU or waits for one, and for nothing else; False where it cannot be seen."""
        process = self._process()
        return process is not None and process.status() == psutil.STATUS_RUNNING

    def _process(self) -> psutil.Process | None:
        try:
            return psutil.Process(self.pid) if self.node == Place.mine().node else None
        except psutil.NoSuchProcess:
            return None
