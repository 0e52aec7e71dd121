"""What runs in a reward worker: one chunk of rows after another, delivered as it goes."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reasoner.errors import UserError
from reasoner.runtime.cluster import Place
from rewards.registry import RewardError, RewardSet, Row, Score

#: How often an actor delivers what it has, in seconds.
DELIVERY_S = 0.05


@dataclass(frozen=True)
class Scored:
    """One row's scores and the seconds they took."""

    scores: dict[str, Score]
    seconds: float


class Worker:
    """What runs in an actor: the in-process `RewardSet`, one chunk of rows after another."""

    def __init__(
        self,
        spec: Mapping[str, float],
        files: Sequence[str],
        options: Mapping[str, Mapping[str, Any]] | None,
        retries: int,
    ):
        self.rewards = RewardSet.build(spec, files, options)
        self.retries = retries
        gc.freeze()  # what is loaded by now stays: no need to look through it for garbage again and again

    def ready(self) -> Place:
        """Where this is, once the rewards are loaded."""
        return Place.mine()

    def score(self, rows: Sequence[Row], evidence: bool = True) -> Iterator[list[Scored]]:
        """Scores in the order of `rows`, delivered every so often."""
        done: list[Scored] = []
        delivered = time.monotonic()
        streams = [self._stream(name, rows) for name in self.rewards.weights]
        start = time.perf_counter()
        for scores in zip(*streams, strict=True):
            scored = Scored(dict(zip(self.rewards.weights, scores, strict=True)), time.perf_counter() - start)
            done.append(scored if evidence else _without_evidence(scored))
            if time.monotonic() - delivered >= DELIVERY_S:
                yield done
                done, delivered = [], time.monotonic()
            start = time.perf_counter()
        if done:
            yield done

    def _stream(self, name: str, rows: Sequence[Row]) -> Iterator[Score]:
        """One reward of the rows, in order."""
        chunk = self.rewards.score_chunk(name, rows) if self.rewards.by_chunk(name) else None
        for row in rows:
            if chunk is not None:
                try:
                    yield next(chunk)
                    continue
                except (UserError, RewardError):
                    raise
                except Exception:  # whichever row it was: from here on each by itself
                    chunk = None
            yield self._score_one(name, row)
        if chunk is not None:
            next(chunk, None)  # where a reward has given too many, it says so now

    def _score_one(self, name: str, row: Row) -> Score:
        """A reward that raises is tried again, then None for this row; breaking the contract raises."""
        why = ""
        for _ in range(self.retries + 1):
            try:
                return self.rewards.score_one(name, row)
            except (UserError, RewardError):
                raise
            except Exception as error:  # a user's code: its failure is this row's, not the run's
                why = f"reward {name!r}, row {row.get('id', '?')!r}: {type(error).__name__}: {error}"
        return Score.failed(why)


def _without_evidence(scored: Scored) -> Scored:
    """Reasons for None stay."""
    scores = scored.scores.items()
    return replace(scored, scores={name: s if s.value is None else replace(s, evidence=()) for name, s in scores})
