"""Two training processes, one pool: run as a script, this file is one of the processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROWS, RANKS = 6, 2


def test_two_processes_share_one_pool_and_get_their_own_scores(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(RANKS), "ACCELERATE_USE_CPU": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, __file__, str(tmp_path)],
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        for rank in range(RANKS)
    ]
    errors = [process.communicate(timeout=180)[1] for process in running]
    assert [process.returncode for process in running] == [0] * RANKS, errors
    for rank in range(RANKS):
        seen = json.loads((tmp_path / f"rank{rank}.json").read_text(encoding="utf-8"))
        assert seen["answer"] == [float(n % 2 == rank) for n in range(ROWS)]
        assert seen["rows"] == ROWS * RANKS, "one dispatch scores everybody's rows"
        assert "needs the column" in seen["error"], "an error of the pool is raised in every process"


def _one_process(folder: Path) -> None:
    from accelerate import PartialState

    from reasoner.errors import UserError
    from reasoner.prompts import format_completion
    from recipes.reward_bridge import RewardBridge
    from rewards.workers import RewardPool

    state = PartialState(cpu=True)
    weights = {"answer": 1.0, "format": 0.2}
    pool = RewardPool(weights, workers=1) if state.is_main_process else None
    bridge = RewardBridge(pool, weights, folder / "rollouts", 0)
    # The right answers of rank 0 are the wrong ones of rank 1: scores that went astray would show.
    names = ["Edema", "Fracture"]
    completions = [
        [{"role": "assistant", "content": format_completion("It is seen.", names[n % 2])}] for n in range(ROWS)
    ]
    logged: dict[str, float] = {}
    columns = {
        "id": [f"{state.process_index}-{n}" for n in range(ROWS)],
        "task": ["abnormality_list"] * ROWS,
        "answer": [names[state.process_index]] * ROWS,
        "trainer_state": type("State", (), {"global_step": 1}),
        "completion_ids": [[1, 2, 3]] * ROWS,
        "log_metric": logged.__setitem__,
        "log_extra": lambda name, values: None,
    }
    answer, _ = bridge.functions()
    values = answer([None] * ROWS, completions, **columns)
    del columns["answer"]
    with pytest.raises(UserError) as error:
        answer([None] * ROWS, list(completions), **columns)
    seen = {"answer": values, "rows": logged["reward_pool/rows"], "error": str(error.value)}
    (folder / f"rank{state.process_index}.json").write_text(json.dumps(seen), encoding="utf-8")
    state.wait_for_everyone()
    if pool is not None:
        pool.close()
    state.destroy_process_group()


if __name__ == "__main__":
    _one_process(Path(sys.argv[1]))
