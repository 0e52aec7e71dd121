"""The pool on a real Ray: order, faults and errors. One pool serves all tests, as one serves a run."""

import contextlib
import os
import random
import signal
import threading
import time

import psutil
import pytest

from reasoner.errors import UserError
from reasoner.prompts import format_completion
from reasoner.runtime.cluster import Place
from rewards import workers
from rewards.registry import RewardError, RewardSet
from rewards.workers import RewardPool

pytestmark = pytest.mark.slow

ODD = """
import os, signal, time
from rewards.registry import Score, reward

@reward("odd")
def odd(completion, *, number):
    if "hang" in completion:
        while True:
            pass
    if "sleep" in completion:
        time.sleep(3600)
    if "die" in completion:
        os.kill(os.getpid(), signal.SIGKILL)
    if "raise" in completion:
        raise ValueError("cannot read this")
    return Score(float("nan") if "nan" in completion else float(number))

@reward("chunk")
def chunk(completions, *, number):
    if any("stall" in text for text in completions):
        time.sleep(3600)
    return [Score(float(n)) for n in number]
"""
SPEC = {"odd": 1.0, "format": 0.2, "answer": 1.0, "chunk": 1.0}


def rows_of(n, **faults):
    """n rows; `faults` maps a word to the number of the row whose completion holds it."""
    words = {number: word for word, number in faults.items()}
    return [
        {"id": f"r{i}", "number": i, "answer": "Edema", "completion": format_completion(words.get(i, "fine"), "Edema")}
        for i in range(n)
    ]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("rewards") / "odd.py"
    path.write_text(ODD, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def pool(file):
    with RewardPool(SPEC, [file], workers=2, timeout_s=1.5) as pool:
        yield pool


def changes(pool, before):
    return {name: value - before[name] for name, value in pool.metrics().items()}


def test_a_batch_comes_back_in_order_and_equal_to_the_process_itself(pool, file):
    rows = rows_of(300)
    local = RewardSet.build(SPEC, [file])
    assert pool.score(rows) == [local.score(row) for row in rows]
    assert pool.score([]) == []
    metrics = pool.metrics()
    assert metrics["rows"] == 300 and metrics["failed_rows"] == 0
    assert 0 < metrics["latency_p50_ms"] <= metrics["latency_p99_ms"]


def test_evidence_stays_with_the_workers_where_nobody_wants_it(pool, file):
    rows = rows_of(20)
    bare, full = pool.score(rows, evidence=False), pool.score(rows)
    numbers = [{name: (s.value, s.parts) for name, s in row.items()} for row in full]
    assert [{name: (s.value, s.parts) for name, s in row.items()} for row in bare] == numbers
    assert any(s.evidence for row in full for s in row.values())
    assert not any(s.evidence for row in bare for s in row.values() if s.value is not None)


@pytest.mark.parametrize(("fault", "timeouts"), [("hang", 1), ("sleep", 1), ("die", 0), ("stall", 1)])
def test_a_row_that_hangs_or_kills_its_worker_is_found_and_costs_no_other(pool, fault, timeouts):
    before = pool.metrics()
    scores = pool.score(rows_of(40, **{fault: 17}))
    assert [row["odd"].value for row in scores] == [None if i == 17 else float(i) for i in range(40)]
    assert [row["chunk"].value for row in scores] == [row["odd"].value for row in scores]
    assert all(score.value is None and score.outcome == "failed" for score in scores[17].values())
    found = changes(pool, before)
    assert (found["failed_rows"], found["timeouts"]) == (1, timeouts)
    assert found["restarts"] >= 2 and found["retries"] >= 1


def test_an_actor_without_a_cpu_gets_more_time(pool, monkeypatch):
    """As on a busy machine: what is slow has computed next to nothing when it is overdue."""
    monkeypatch.setattr(Place, "computed", lambda self: 0.0)
    monkeypatch.setattr(workers, "_PUT_OFF", 1)
    before, start = pool.metrics(), time.monotonic()
    scores = pool.score(rows_of(1, hang=0))
    assert scores[0]["odd"].outcome == "failed" and changes(pool, before)["timeouts"] == 1
    assert time.monotonic() - start >= 2 * pool.timeout_s
    waits = time.monotonic()
    pool.score(rows_of(1, sleep=0))
    assert changes(pool, before)["timeouts"] == 2 and time.monotonic() - waits >= pool.timeout_s


def test_a_batch_beyond_its_limit_ends_with_what_it_has(pool, monkeypatch):
    before = pool.metrics()
    monkeypatch.setattr(pool, "batch_timeout_s", 1.0)  # below the limit of a row, which alone would end the hang
    values = [row["odd"].value for row in pool.score(rows_of(40, hang=39))]
    assert values[:20] == [float(i) for i in range(20)] and values[39] is None
    found = changes(pool, before)
    assert found["failed_rows"] == found["timeouts"] == values.count(None)
    monkeypatch.undo()
    assert [row["odd"].value for row in pool.score(rows_of(5))] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_reward_that_raises_costs_its_row_that_reward_only(pool):
    before = pool.metrics()
    scores = pool.score(rows_of(10, **{"raise": 3}))
    assert scores[3]["odd"].value is None and "ValueError: cannot read this" in scores[3]["odd"].failure
    assert scores[3]["answer"].value == 1.0
    assert changes(pool, before)["failed_rows"] == 1 and changes(pool, before)["restarts"] == 0


def test_a_broken_reward_or_a_missing_column_stops_the_run_and_not_the_pool(pool):
    with pytest.raises(RewardError, match="reward 'odd', row 'r2': value is nan"):
        pool.score(rows_of(20, nan=2))
    with pytest.raises(UserError, match="needs the column 'number'"):
        pool.score([{"id": "a", "completion": "x", "answer": "Edema"}])
    assert [row["odd"].value for row in pool.score(rows_of(5))] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_hundred_batches_survive_workers_killed_and_frozen_at_random(pool):
    import ray

    rows, chance, expected = rows_of(60), random.Random(0), [float(i) for i in range(60)]
    before, seen, timers = pool.metrics(), set(), []

    def harm(victim, pid, how):
        if how == "ray.kill":
            ray.kill(victim)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if how == "kill" else signal.SIGSTOP)

    for number in range(100):
        if number % 10 == 0:
            for index in range(2):
                pool._await(index)  # a worker killed after the last batch is found only by the next
            victim = chance.choice(pool._actors)
            pids = [ray.get(actor.ready.remote()).pid for actor in pool._actors]
            seen.update(pids)
            how = ("ray.kill", "kill", "freeze")[number // 10 % 3]
            pid = pids[pool._actors.index(victim)]
            timers.append(threading.Timer(chance.uniform(0.0, 0.02), harm, [victim, pid, how]))
            timers[-1].start()
        assert [row["odd"].value for row in pool.score(rows)] == expected, f"batch {number}"
    for timer in timers:
        timer.join()
    for index in range(2):
        pool._await(index)
    alive = {ray.get(actor.ready.remote()).pid for actor in pool._actors}
    assert changes(pool, before)["restarts"] >= 7 and changes(pool, before)["failed_rows"] == 0
    deadline = time.monotonic() + 20
    while (left := {pid for pid in seen - alive if psutil.pid_exists(pid)}) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, "replaced workers are gone"


def test_closing_ends_the_workers_and_only_them(pool, file):
    import ray

    other = RewardSet.build({"format": 1.0})
    for actor in pool._actors[1:]:
        ray.kill(actor)  # makes room for a second pool
    time.sleep(0.5)
    with RewardPool({"format": 1.0}, workers=1, name="second") as second:
        pid = ray.get(second._actors[0].ready.remote()).pid
        rows = rows_of(5)
        assert second.score(rows) == [other.score(row) for row in rows]
    second.close()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)
    with pytest.raises(RuntimeError, match="closed"):
        second.score(rows)
    assert ray.is_initialized(), "a pool that found a Ray running leaves it running"
    assert pool.score(rows_of(3))[2]["odd"].value == 2.0


def test_wrong_arguments_are_refused_before_any_worker_starts():
    with pytest.raises(UserError, match="unknown reward 'fromat'"):
        RewardPool({"fromat": 1.0})
    with pytest.raises(UserError, match="workers >= 1"):
        RewardPool({"format": 1.0}, workers=0)
