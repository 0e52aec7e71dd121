import os
import subprocess
import sys

import pytest

from reasoner.runtime.threads import share_cores


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) - 1)), "OMP_WAIT_POLICY": "PASSIVE"}),
        ({"OMP_NUM_THREADS": "7", "OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_NUM_THREADS": "7", "OMP_WAIT_POLICY": "ACTIVE"}),
        (
            {"LOCAL_WORLD_SIZE": "999"},
            {"LOCAL_WORLD_SIZE": "999", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        ),
        ({"OMP_NUM_THREADS": "7", "GOMP_SPINCOUNT": "9"}, {"OMP_NUM_THREADS": "7", "GOMP_SPINCOUNT": "9"}),
    ],
)
def test_what_the_user_set_wins(given, expected):
    environment = dict(given)
    share_cores(environment)
    assert environment == expected


def test_torch_takes_the_number_although_it_is_set_within_the_process():
    code = (
        "from reasoner.runtime.threads import share_cores; share_cores(); import torch; print(torch.get_num_threads())"
    )
    # A vLLM that ran in this process preloads OpenMP into its children, which reads its settings before Python can.
    unset = ("OMP_", "GOMP_", "LD_PRELOAD")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, encoding="utf-8", check=True
    )
    assert int(done.stdout) == max(1, len(os.sched_getaffinity(0)) - 1)
