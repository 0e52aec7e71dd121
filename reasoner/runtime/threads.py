"""How many threads torch and vLLM compute with, so that a busy neighbour costs a stage no more than its share.

OpenMP's threads wait for each other thousands of times a second, by default spinning: where one has lost its core to
another process, the rest burn theirs. Measured on 2 cores with the phantom recipe: docs/decisions.md.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping


def share_cores(environment: MutableMapping[str, str] = os.environ) -> None:
    """Leaves one core to data loading, Ray and neighbours, and lets waiting threads sleep; what the user set wins.
    Processes that train together share what there is.

    Call before torch is imported: OpenMP reads the environment once.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = int(environment.get("LOCAL_WORLD_SIZE", "1"))
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (cores - 1) // processes)))
    if "GOMP_SPINCOUNT" not in environment:
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
