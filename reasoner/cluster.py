"""The one place that starts Ray."""

from __future__ import annotations

import logging
import os
from typing import Any


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
        ray.init(num_cpus=workers, include_dashboard=False, **quiet)
    return True
