"""Rewards on Ray actors: batched, in order, and whole whatever happens to an actor or a row.

Actors stream their scores back, so the driver knows how far each has come. An actor that dies or hangs is replaced.
The rows it had not delivered are done again, each by itself, which finds the row to blame. Only text travels, never
pixels.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import time
import uuid
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from reasoner.errors import UserError
from reasoner.runtime.cluster import Place, ensure_ray
from rewards.actor import DELIVERY_S, Scored, Worker
from rewards.registry import RewardError, RewardSet, Row, Score

log = logging.getLogger(__name__)

#: Starting an actor includes starting Python and reading the lexicon, on a machine that may be busy.
_START_LIMIT_S = 120.0
#: How often an actor that a busy machine starves gets more time.
_PUT_OFF = 19
#: Latencies kept for the percentiles.
_REMEMBERED = 10_000
#: Few chunks, since handing one out costs as much as scoring some ten short rows; several, so that none waits long.
_CHUNKS_PER_WORKER, _CHUNK_ROWS = 4, 64


@dataclass
class _Job:
    """A chunk on an actor: the rows still to come; when the next delivery is overdue, what the actor had computed when
    that was set, and how often it has been put off."""

    pending: deque[int]
    stream: Any
    alone: bool
    deadline: float = 0.0
    computed: float | None = None
    spared: int = 0


class RewardPool:
    """Scores batches of rows with `workers` Ray actors; owned by this process, gone when it closes or ends.

    Args:
        spec, files, options: as for `RewardSet.build`; wrong ones raise here.
        timeout_s: limit for one completion, in seconds; a row beyond it has scores of None. An actor of this
            node that computes, and has had less than half of it on a CPU, is starved and gets up to 20 times as long.
        batch_timeout_s: limit for a whole batch, in seconds; rows not scored by then have scores of None.
        retries: how often a row is done again after its actor died, and a reward after it raised.
        placement: Ray's scheduling strategy for the actors, "SPREAD" over the nodes or "DEFAULT" (packed).
        name: prefix of the actors' names, as in `ray list actors`.

    >>> rows = [{"completion": "<think>Wide heart.</think><answer>B</answer>", "answer": letter} for letter in "BC"]
    >>> with RewardPool({"answer": 1.0}, workers=1) as pool:
    ...     [scores["answer"].value for scores in pool.score(rows)]
    [1.0, 0.0]
    """

    def __init__(
        self,
        spec: Mapping[str, float],
        files: Sequence[str] = (),
        *,
        workers: int = 2,
        timeout_s: float = 10.0,
        batch_timeout_s: float = math.inf,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        retries: int = 2,
        placement: str = "SPREAD",
        name: str = "reward-pool",
    ):
        if workers < 1 or min(timeout_s, batch_timeout_s) <= 0 or retries < 0:
            raise UserError("the reward pool needs workers >= 1, time limits > 0 and retries >= 0")
        paths = [os.path.abspath(file) for file in files]
        self.rewards = RewardSet.build(spec, paths, options)
        self.timeout_s, self.batch_timeout_s, self.retries = timeout_s, batch_timeout_s, retries
        self.placement = placement
        self._name = f"{name}-{uuid.uuid4().hex[:6]}"
        self._columns = self.rewards.columns() | {"completion", "id"}
        self._arguments = (dict(spec), paths, options, retries)
        self._counts: Counter[str] = Counter()
        self._latencies: deque[float] = deque(maxlen=_REMEMBERED)
        self._batch_s = self._queued = 0.0
        self._warned: set[str] = set()
        self._started_ray = ensure_ray(workers)
        self._actors: list[Any] = []
        self._places: dict[int, Place] = {}
        self._open = True
        atexit.register(self.close)
        try:
            self.rewards.start()
            self._actors = [self._start(i) for i in range(workers)]
            for index in range(workers):
                self._await(index)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RewardPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the actors, and Ray if this pool started it. Closing twice does nothing."""
        if not self._open:
            return
        self._open = False
        atexit.unregister(self.close)
        import ray

        if ray.is_initialized():
            for actor in self._actors:
                ray.kill(actor)
            if self._started_ray:
                ray.shutdown()

    def score(self, rows: Sequence[Row], *, evidence: bool = True) -> list[dict[str, Score]]:
        """Every reward of every row, in order. Without `evidence`, only scores of None keep theirs: evidence is most of
        what travels, and fetching it takes as long as finding it.

        A reward that cannot score a row has value None there, with the reason as evidence, and is counted.

        Raises:
            UserError: a column is missing.
            RewardError: a reward broke its contract (a value that is NaN, no Score).
            RuntimeError: the pool is closed, or no actor can be started.
        """
        if not self._open:
            raise RuntimeError("the reward pool is closed")
        if not rows:
            return []
        self.rewards.check_columns(set.intersection(*(set(row) for row in rows)))
        start = time.monotonic()
        batch = _Batch(self, [{c: row[c] for c in self._columns if c in row} for row in rows], evidence)
        results = batch.run()
        self._batch_s, self._queued = time.monotonic() - start, float(batch.queued)
        self._counts["rows"] += len(rows)
        return results

    def metrics(self) -> dict[str, float]:
        """Since the start: `latency_p50_ms` and `latency_p99_ms` of one row (over the last 10,000); of the last batch
        `batch_s` and `queued` (the most rows that waited while every actor was busy); and the counts `rows`, `retries`
        (rows done again), `restarts` (of actors), `failed_rows` (with a reward that could not be computed) and
        `timeouts` (those of them that took too long)."""
        ordered = sorted(self._latencies)

        def percentile(share: float) -> float:
            return 1000 * ordered[math.ceil(share * len(ordered)) - 1] if ordered else 0.0

        counts = {n: float(self._counts[n]) for n in ("rows", "retries", "timeouts", "restarts", "failed_rows")}
        return {
            "latency_p50_ms": percentile(0.5),
            "latency_p99_ms": percentile(0.99),
            "batch_s": self._batch_s,
            "queued": self._queued,
            **counts,
        }

    def _start(self, index: int) -> Any:
        import ray

        actor = ray.remote(Worker).options(
            name=f"{self._name}-{index}-{self._counts['restarts']}", num_cpus=1, scheduling_strategy=self.placement
        )
        return actor.remote(*self._arguments)

    def _await(self, index: int) -> None:
        """Waits until the actor has loaded its rewards; one that dies meanwhile is started again."""
        import ray

        for attempt in range(self.retries + 1):
            try:
                self._places[index] = ray.get(self._actors[index].ready.remote(), timeout=_START_LIMIT_S)
                return
            except ray.exceptions.GetTimeoutError as error:
                raise UserError(
                    f"no reward worker within {_START_LIMIT_S:.0f} s: the Ray cluster has no free CPU for it; "
                    "lower `grpo.reward_workers` or add CPUs"
                ) from error
            except ray.exceptions.RayActorError:
                if attempt == self.retries:
                    raise
                self._restart(index)

    def _replace(self, index: int) -> None:
        import ray

        ray.kill(self._actors[index])
        self._restart(index)
        self._await(index)

    def _restart(self, index: int) -> None:
        self._counts["restarts"] += 1
        self._actors[index] = self._start(index)

    def _warn_once(self, kind: str, why: str) -> None:
        """Logs one line for each kind of failure, the first time that it occurs."""
        if kind not in self._warned:
            self._warned.add(kind)
            log.warning("%s; such rows have no reward and are counted in failed_rows", why)


class _Batch:
    """One call of `RewardPool.score`: chunks on actors until every row has its scores."""

    def __init__(self, pool: RewardPool, rows: list[dict[str, Any]], evidence: bool):
        self.pool, self.rows, self.evidence = pool, rows, evidence
        self.end, self.queued = time.monotonic() + pool.batch_timeout_s, 0
        self.results: list[dict[str, Score] | None] = [None] * len(rows)
        self.deaths: Counter[int] = Counter()
        self.jobs: dict[int, _Job] = {}
        workers = len(pool._actors)
        chunks = workers * min(_CHUNKS_PER_WORKER, max(1, len(rows) // (workers * _CHUNK_ROWS)))
        size = max(1, math.ceil(len(rows) / chunks))
        self.queue = deque(range(first, min(first + size, len(rows))) for first in range(0, len(rows), size))

    def run(self) -> list[dict[str, Score]]:
        import ray

        try:
            while self.queue or self.jobs:
                self._dispatch()
                self.queued = max(self.queued, sum(map(len, self.queue)))
                owner = {job.stream: index for index, job in self.jobs.items()}
                due = min(self.end, *(job.deadline for job in self.jobs.values()))
                ready, _ = ray.wait(list(owner), num_returns=1, timeout=max(0.0, due - time.monotonic()))
                for stream in ready:
                    self._receive(owner[stream])
                for index, job in list(self.jobs.items()):
                    overdue = time.monotonic() > job.deadline and not ray.wait([job.stream], timeout=0)[0]
                    if overdue and not self._put_off(index):
                        self._recover(index, timed_out=True)
                if time.monotonic() > self.end:
                    self._give_up()
        except BaseException:
            # What still runs belongs to no batch any more: the next must not wait behind it.
            self._drop_jobs()
            raise
        return [scores for scores in self.results if scores is not None]

    def _drop_jobs(self) -> None:
        while self.jobs:
            index, _ = self.jobs.popitem()
            self.pool._replace(index)

    def _give_up(self) -> None:
        """Ends the batch where it stands: every row without scores is a failed one."""
        self._drop_jobs()
        self.queue.clear()
        why = f"its batch took longer than {self.pool.batch_timeout_s:g} s"
        for number, scores in enumerate(self.results):
            if scores is None:
                self._fail(number, why, timed_out=True)

    def _fail(self, number: int, why: str, *, timed_out: bool) -> None:
        self.pool._counts["timeouts"] += timed_out
        self.pool._counts["failed_rows"] += 1
        self.pool._warn_once(why, f"row {self.rows[number].get('id', '?')!r}: {why}")
        self.results[number] = {name: Score.failed(why) for name in self.pool.rewards.weights}

    def _dispatch(self) -> None:
        for index, actor in enumerate(self.pool._actors):
            if index not in self.jobs and self.queue:
                numbers = self.queue.popleft()
                rows = [self.rows[n] for n in numbers]
                stream = actor.score.options(num_returns="streaming").remote(rows, self.evidence)
                self.jobs[index] = _Job(deque(numbers), stream, len(numbers) == 1)
                self._expect(index)

    def _expect(self, index: int) -> None:
        """From now on the job has its full time for the next delivery."""
        job = self.jobs[index]
        job.deadline, job.computed, job.spared = self._deadline(), self.pool._places[index].computed(), 0

    def _put_off(self, index: int) -> bool:
        """Whether an overdue actor is one that computes, but has not had `timeout_s` of a CPU yet: it gets more time.
        Else a busy machine would lose rows, and equal runs would differ."""
        job, place = self.jobs[index], self.pool._places[index]
        before, now = job.computed, place.computed()
        starved = before is not None and now is not None and now - before < self.pool.timeout_s / 2
        if not starved or not place.computes() or job.spared == _PUT_OFF:
            return False
        job.deadline, job.spared = self._deadline(), job.spared + 1
        return True

    def _deadline(self) -> float:
        return time.monotonic() + self.pool.timeout_s + DELIVERY_S

    def _receive(self, index: int) -> None:
        import ray

        job = self.jobs[index]
        try:
            delivered: list[Scored] = ray.get(next(job.stream))
        except StopIteration:
            del self.jobs[index]
            return
        except ray.exceptions.RayTaskError as error:
            del self.jobs[index]
            raise _cause(error) from None
        except ray.exceptions.RayError:  # the actor died, whichever way
            self._recover(index, timed_out=False)
            return
        for scored in delivered:
            self.results[job.pending.popleft()] = scored.scores
            self.pool._latencies.append(scored.seconds)
            failed = {name: score for name, score in scored.scores.items() if score.outcome == "failed"}
            self.pool._counts["failed_rows"] += bool(failed)
            for name, score in failed.items():
                self.pool._warn_once(name, score.failure)
        self._expect(index)

    def _recover(self, index: int, *, timed_out: bool) -> None:
        """Replaces the actor of a job, and queues each row that it had not delivered as a job of its own. Gives up on a
        row found guilty. Some rows may be scored twice: what a dying actor sends does not always arrive."""
        job = self.jobs.pop(index)
        self.pool._replace(index)
        if job.alone and job.pending:
            guilty = job.pending[0]
            self.deaths[guilty] += 1
            if timed_out or self.deaths[guilty] > self.pool.retries:
                why = f"no score within {self.pool.timeout_s:g} s" if timed_out else "its worker died each time"
                self._fail(guilty, why, timed_out=timed_out)
                job.pending.popleft()
        self.pool._counts["retries"] += len(job.pending)
        self.queue.extendleft(range(number, number + 1) for number in reversed(job.pending))


def _cause(error: Any) -> Exception:
    """The worker's own error, where it is one of ours."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, UserError | RewardError) else error
