"""Stages on several nodes: a node that is lost costs nothing, and the job scripts place what they should."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from reasoner.layout import UNFINISHED
from recipes.cluster.ray_job import Step, run, steps

SCRIPT = Path(__file__).parents[2] / "recipes" / "cluster" / "slurm.sh"
#: Takes a moment a row, so that a batch can be interrupted.
SLOW = """
import os
import time
from rewards.registry import Score, reward

@reward("slow")
def slow(completion: str, *, number: int) -> Score:
    open("{folder}/seen-" + str(os.getpid()), "w").close()
    time.sleep(0.01)
    return Score(number / 7)
"""
ROWS = 300
#: Stands for vLLM: is well, and goes on.
SERVER = """
import http.server, sys

class Well(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

http.server.HTTPServer((sys.argv[2], int(sys.argv[4])), Well).serve_forever()
"""
#: Stands for a trainer: needs the server, and ends as it is told.
TRAINER = """
import os, sys, urllib.request
urllib.request.urlopen(f"http://{sys.argv[2]}:{sys.argv[4]}/health")
exec(os.environ["DOES"])
"""


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster of a head with two processors; nodes with one come and go."""
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    yield made
    ray.shutdown()
    made.shutdown()


def losing_a_node(cluster, work: Callable[[], object], half_done: Callable[[], bool]) -> None:
    """Does the work on one node more, which is killed in the middle of it."""
    node = cluster.add_node(num_cpus=1)
    over, killed = threading.Event(), []

    def kill() -> None:
        while not half_done():
            if over.wait(0.02):
                return
        killed.append(not over.is_set())
        cluster.remove_node(node, allow_graceful=False)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        work()
    finally:
        over.set()
        thread.join()
    assert killed == [True], "the work was over before the node was"


@pytest.mark.slow
def test_mining_loses_no_byte_with_a_node(cluster, tmp_path):
    from reasoner.mining.pipeline.run import mine
    from reasoner.sources import open_source

    def mined(name: str, workers: int | None) -> Path:
        output = tmp_path / name
        source = open_source("phantom", None, output, {"train": 700, "val": 20, "test": 20, "site_b": 20})
        mine(source, output, tasks={"abnormality_list": 1.0, "binary": 0.5}, seed=3, workers=workers)
        return output

    shards = tmp_path / "lost" / UNFINISHED
    losing_a_node(cluster, lambda: mined("lost", None), lambda: any(shards.glob("[0-9]" * 5)))
    left, whole = tmp_path / "lost", mined("whole", 0)
    names = {path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.suffix != ".sqlite"}
    assert len(names) > 700
    assert names == {path.relative_to(left) for path in left.rglob("*") if path.is_file() and path.suffix != ".sqlite"}
    assert not [name for name in names if (whole / name).read_bytes() != (left / name).read_bytes()]


@pytest.mark.slow
def test_rewards_lose_no_score_with_a_node(cluster, tmp_path):
    from rewards.registry import RewardSet
    from rewards.workers import RewardPool

    (tmp_path / "slow.py").write_text(SLOW.format(folder=str(tmp_path)), encoding="utf-8")
    spec, files = {"slow": 1.0, "answer": 1.0, "format": 0.2}, [str(tmp_path / "slow.py")]
    rows = [
        {"id": str(n), "number": n, "answer": "Edema", "completion": f"<think>{n}</think><answer>Edema</answer>"}
        for n in range(ROWS)
    ]
    given = []

    def score() -> None:
        with RewardPool(spec, files, workers=2) as pool:
            given.extend(pool.score(rows))
            given.append(pool.metrics())

    losing_a_node(cluster, score, lambda: len(list(tmp_path.glob("seen-*"))) == 2)
    *scores, metrics = given
    assert metrics["restarts"] >= 1 and metrics["retries"] >= 1, "it had a worker, with rows"
    assert metrics["failed_rows"] == 0
    here = RewardSet.build(spec, files)
    assert sum(one != here.score(row) for one, row in zip(scores, rows, strict=True)) == 0


@pytest.mark.slow
def test_a_job_ends_with_the_first_step_that_fails_and_takes_its_servers_along(cluster, tmp_path):
    import ray

    from recipes.cluster.ray_job import hold

    nodes = hold(1, 0)
    (tmp_path / "server.py").write_text(SERVER, encoding="utf-8")
    (tmp_path / "trainer.py").write_text(TRAINER, encoding="utf-8")
    host, (port, *_) = ray.get(nodes[0].place.remote())
    place = ("--host", host, "--port", str(port))

    def trained(does: str) -> tuple[int, str]:
        server = Step(0, [sys.executable, str(tmp_path / "server.py"), *place], {}, serves=True)
        return run([server, Step(0, [sys.executable, str(tmp_path / "trainer.py"), *place], {"DOES": does})], nodes)

    assert trained("pass") == (0, "")
    assert trained("print('error: no data'); print('bye'); exit(2)") == (2, "error: no data")
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://{host}:{port}/health", timeout=5)


PLACES = [("10.0.0.1", (5001, 5002, 5003)), ("10.0.0.2", (6001, 6002, 6003)), ("10.0.0.3", (7001, 7002, 7003))]


def test_a_ray_job_trains_on_the_first_nodes_and_serves_on_the_last():
    planned = steps(
        "grpo",
        ["--recipe", "phantom"],
        PLACES,
        served=1,
        gpus=8,
        accelerate="a.yaml",
        ray_address="r:1",
    )
    server, *trainers = planned
    assert (server.node, server.serves) == (2, True) and "serve" in server.command
    served = dict(pairwise(server.command))
    assert (served["--host"], served["--port"], served["--recipe"]) == ("10.0.0.3", "7002", "phantom")
    assert served["--set"] == "grpo.server.tensor_parallel=8"
    assert [step.node for step in trainers] == [0, 1] and not any(step.serves for step in trainers)
    for step in trainers:
        words = list(step.command)
        option = dict(pairwise(words))
        assert option["--num_machines"] == "2" and option["--num_processes"] == "16"
        assert option["--machine_rank"] == str(step.node) and option["--main_process_ip"] == "10.0.0.1"
        assert option["--vllm_server_base_url"] == "http://10.0.0.3:7002" and option["--recipe"] == "phantom"
        assert step.environment == {"RAY_ADDRESS": "r:1"}


#: Stands for srun: runs the command once a task, with its number, and notes where.
SRUN = """#!/usr/bin/env bash
for word in "$@"; do
  case $word in --nodelist=*) nodes=${word#*=} ;; --ntasks=*) tasks=${word#*=} ;; esac
done
while [[ $1 == --* ]]; do shift; done
for ((task = 0; task < tasks; task++)); do
  IFS=, read -r -a names <<<"$nodes"
  SLURM_PROCID=$task NODE=${names[task]} "$@" || exit
done
"""
#: Stands for the programs: notes the node, the program and its arguments.
PROGRAM = """#!/usr/bin/env bash
echo "$NODE $(basename "$0") $*" >>"$NOTES"
[[ $(basename "$0")-$1 == ray-start ]] && sleep 1
exit "${FAILS:-0}"
"""


def slurm(tmp_path: Path, *words: str, **settings: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """How the script ended on three nodes, and what ran."""
    programs = {"srun": SRUN, "scontrol": "#!/usr/bin/env bash\nprintf '%s\\n' a b c\n"}
    programs |= dict.fromkeys(("ray", "accelerate", "reasoner", "curl"), PROGRAM)
    for name, text in programs.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    notes = tmp_path / "notes"
    notes.unlink(missing_ok=True)
    place = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "BIN": str(tmp_path), "NOTES": str(notes)}
    done = subprocess.run(
        ["bash", str(SCRIPT), *words],
        env={**os.environ, **place, "SLURM_JOB_NODELIST": "[a-c]", "GPUS": "4", **settings},
        cwd=SCRIPT.parents[2], capture_output=True, encoding="utf-8", timeout=60,
    )  # fmt: skip
    return done, notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []


def test_the_slurm_script_places_ray_vllm_and_trainers(tmp_path):
    done, notes = slurm(tmp_path, "grpo", "phantom", "--max_steps", "2", VLLM_NODES="1")
    assert (done.returncode, done.stderr) == (0, "")
    started = sorted(note for note in notes if " ray start " in note)
    assert [note.split()[0] for note in started] == ["a", "b", "c"]
    assert ["--head" in note for note in started] == [True, False, False] and "--address=a:29501" in started[1]
    (server,) = [note for note in notes if " reasoner serve " in note]
    assert server.startswith("c ") and server.endswith(" --max_steps 2 --host 0.0.0.0 --port 29502")
    trainers = [note for note in notes if " accelerate " in note]
    assert [note.split()[0] for note in trainers] == ["a", "b"]
    for rank, note in enumerate(trainers):
        assert f"launch --machine_rank {rank} --config_file recipes/accelerate/deepspeed_zero2.yaml" in note
        assert "--num_machines 2 --num_processes 8 --main_process_ip a --main_process_port 29500" in note
        assert " -m recipes.cli grpo --recipe phantom --set grpo.server.tensor_parallel=4 " in note
        assert note.endswith(" --vllm_mode server --vllm_server_base_url http://c:29502 --max_steps 2")


def test_the_slurm_script_mines_on_all_nodes_and_ends_as_its_step_does(tmp_path):
    done, notes = slurm(tmp_path, "mine", "phantom")
    assert done.returncode == 0 and [n for n in notes if " reasoner " in n] == ["a reasoner mine --recipe phantom"]
    assert len([note for note in notes if " ray start" in note]) == 3
    done, _ = slurm(tmp_path, "sft", "phantom", ACCELERATE="recipes/accelerate/none.yaml")
    assert done.returncode == 2 and done.stderr.startswith("error: ACCELERATE=")
    for stage, vllm_nodes in (("eval", "0"), ("sft", "1"), ("grpo", "2")):
        done, notes = slurm(tmp_path, stage, "phantom", VLLM_NODES=vllm_nodes)
        assert done.returncode == 2 and done.stderr.startswith("error: ") and not notes


def test_the_slurm_script_is_clean():
    assert subprocess.run(["bash", "-n", str(SCRIPT)]).returncode == 0
    if checker := shutil.which("shellcheck"):
        found = subprocess.run([checker, str(SCRIPT)], capture_output=True, encoding="utf-8")
        assert found.returncode == 0, found.stdout
