"""Metrics of the RadEval package as judge of the process: RadGraph-F1, CheXbert-F1, RaTEScore, GREEN and plainer ones.

A metric says how much a text has in common with another one; each reasoning is measured against the report and against
the reference chain, and the mean of both is its score. The metrics' models live in Ray actors that take a fraction of
a GPU each and have fixed names, so that all reward workers of a cluster share them. Written to RadEval 2.2.1.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from reasoner.compat.radeval import import_radeval
from reasoner.errors import UserError
from reasoner.runtime.cluster import ensure_ray
from rewards.judges.llm import Case
from rewards.registry import Score, check_known

#: RadEval's metrics that compare two texts on chest X-rays, higher is better, and the key of their value for one pair.
#: Left out: RadCliQ (lower is better), those for CT and mammography, those that pay per request (`judge: llm` does).
METRICS = {
    "bertscore": "bertscore",
    "bleu": "bleu",
    "f1chexbert": "f1chexbert_sample_f1",
    "green": "green",
    "radeval_bertscore": "radeval_bertscore",
    "radgraph": "radgraph_partial",
    "ratescore": "ratescore",
    "rouge": "rougeL",
}
INSTALL = ".venv/bin/python -m pip install -c constraints.txt -e '.[radeval]'"
NAMESPACE = "cxr-reasoner"
#: Loading includes the download of weights where they are not at hand; GREEN's are 14 GB.
_START_LIMIT_S = 1800.0
#: Nobody owns the actors, since any worker may die: one that nobody has asked for this long ends itself.
_IDLE_LIMIT_S = 900.0
_WATCH_S = 0.5

#: The last chunk's values in this process.
_VALUES: dict[tuple[RadEvalJudge, str, str], float] = {}
_STARTED: set[RadEvalJudge] = set()


class RadEvalJudge(NamedTuple):
    """A metric, the GPUs of each of its actors (a fraction; 0: CPU) and how long a chunk may take in seconds."""

    metric: str
    gpus: float
    actors: int
    timeout_s: float

    def checked(self) -> RadEvalJudge:
        """Raises `UserError` for settings that no cluster could serve."""
        check_known(self.metric, METRICS, "metric of judge radeval:")
        if self.gpus < 0 or (self.gpus > 1 and self.gpus % 1) or self.actors < 1 or self.timeout_s <= 0:
            raise UserError(
                f"judge radeval: needs gpus from 0 to 1 or whole, actors >= 1 and judge_timeout_s > 0, "
                f"found {self.gpus}, {self.actors} and {self.timeout_s}"
            )
        return self

    def ask(self, cases: Sequence[Case]) -> None:
        # Once, by who begins a run: a worker must not wait for models that are being loaded again.
        if not cases or not (_within_actor() or self in _STARTED):
            self._start()
            _STARTED.add(self)
        _VALUES.clear()
        texts = [(case.text, other) for case in cases for other in (case.reference, case.report) if case.text.strip()]
        for pair, value in self._measure(list(dict.fromkeys(texts))):
            _VALUES[self, *pair] = value

    def score(self, case: Case) -> Score | None:
        sides = {"reference": case.reference, "report": case.report}
        if case.text.strip():
            values = {side: _VALUES.get((self, case.text, other)) for side, other in sides.items()}
        else:  # says nothing, whatever a model makes of an empty text
            values = dict.fromkeys(sides, 0.0)
        parts = {f"{METRICS[self.metric]}_{side}": v for side, v in values.items() if v is not None}
        if len(parts) < len(sides):
            return None
        entries = tuple(
            {
                "part": part,
                "verdict": "measured",
                "credit": value,
                "weight": 1.0,
                "words": case.text,
                "against": other,
                "start": 0,
                "end": len(case.text),
            }
            for (part, value), other in zip(parts.items(), sides.values(), strict=True)
        )
        return Score(sum(parts.values()) / len(parts), entries, parts)

    def _measure(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[tuple[str, str], float]]:
        """The pairs of (text, other text) whose value came in time."""
        import ray

        shares = [pairs[number :: self.actors] for number in range(self.actors)]
        asked = {}
        try:
            for number, share in enumerate(shares):
                if share:
                    asked[self._actor(number).measure.remote(share)] = share
            done, late = ray.wait(list(asked), num_returns=len(asked), timeout=self.timeout_s) if asked else ([], [])
        except ray.exceptions.RayError:  # an actor that has just ended: the next chunk starts another
            return []
        for call in late:
            ray.cancel(call)  # what has not begun need not
        measured = []
        for call in done:
            try:
                values: list[float | None] = ray.get(call)
            except ray.exceptions.RayError:  # the rules stand in, and `judge_fallback` tells
                continue
            measured += [(pair, v) for pair, v in zip(asked[call], values, strict=True) if v is not None]
        return measured

    def _actor(self, number: int) -> Any:
        """The shared actor, started where the cluster has none."""
        import ray

        options = ray.remote(Evaluator).options(
            name=f"radeval-{self.metric}-{self.gpus:g}-{self.timeout_s:g}-{number}",
            namespace=NAMESPACE,
            get_if_exists=True,
            lifetime="detached",  # or it would go with the worker that happened to be first
            num_cpus=0,
            num_gpus=self.gpus,
        )
        return options.remote(self.metric, self.gpus, 2 * self.timeout_s)

    def _start(self) -> None:
        """Waits until every actor has loaded its metric; starts a Ray where none is running."""
        import ray

        ensure_ray(os.cpu_count() or 1)
        needed, there = self.gpus * self.actors, ray.cluster_resources().get("GPU", 0.0)
        if needed > there:
            raise UserError(
                f"judge radeval needs {needed:g} GPUs ({self.actors} actors of {self.gpus:g}), the Ray cluster has "
                f"{there:g}; lower `gpus` or `actors` in grpo.reward_options.process (gpus: 0 computes on the CPU)"
            )
        actors = [self._actor(number) for number in range(self.actors)]
        try:
            problems = [why for why in ray.get([a.ready.remote() for a in actors], timeout=_START_LIMIT_S) if why]
        except ray.exceptions.GetTimeoutError:
            problems = [f"not ready within {_START_LIMIT_S:g} s; are {needed:g} GPUs of the Ray cluster free?"]
        except ray.exceptions.RayError as error:
            problems = [f"its actor died while loading: {error}"]
        if problems:
            for actor in actors:
                ray.kill(actor)
            raise UserError(f"judge radeval, metric {self.metric!r}: {problems[0]}")


class Evaluator:
    """What runs in an actor: RadEval with one metric. It ends itself when a call hangs, or nobody calls any more."""

    def __init__(self, metric: str, gpus: float, call_limit_s: float):
        if not gpus:  # RadEval's models take any GPU that they can see
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self.metric, self.call_limit_s = metric, call_limit_s
        self.problem = ""
        try:
            self.evaluator = import_radeval().RadEval(metrics=[metric], per_sample=True, show_progress=False)
        except ImportError as error:
            self.problem = f"{error}; run `{INSTALL}` on every node of the cluster"
        except Exception as error:  # weights that cannot be had, a model that does not fit
            self.problem = f"{type(error).__name__}: {error}"
        self._busy, self._since = False, time.monotonic()
        threading.Thread(target=self._watch, daemon=True).start()

    def ready(self) -> str:
        """What is wrong, once the metric is loaded; empty if nothing is."""
        return self.problem

    def measure(self, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """The value of each (text, other text), from 0 to 1; None where the metric gives none."""
        self._busy, self._since = True, time.monotonic()
        try:
            hyps, refs = [text for text, _ in pairs], [other for _, other in pairs]
            if self.metric == "f1chexbert":
                return self._chexbert(hyps, refs)
            values = self.evaluator(refs=refs, hyps=hyps)[METRICS[self.metric]]
            return [None if v is None or not math.isfinite(v) else min(1.0, max(0.0, float(v))) for v in values]
        finally:
            self._busy, self._since = False, time.monotonic()

    def _chexbert(self, hyps: list[str], refs: list[str]) -> list[float | None]:
        """F1 over the 14 labels: per pair RadEval gives their accuracy, which pays for everything left unsaid."""
        labels = self.evaluator.f1chexbert_scorer.get_labels(hyps + refs)
        return [f1(a, b) for a, b in zip(labels[: len(hyps)], labels[len(hyps) :], strict=True)]

    def _watch(self) -> None:
        while True:
            time.sleep(_WATCH_S)
            if time.monotonic() - self._since > (self.call_limit_s if self._busy else _IDLE_LIMIT_S):
                os._exit(1)  # a call cannot be interrupted, and whoever made it has given up


def f1(one: Sequence[int], other: Sequence[int]) -> float:
    """F1 of two label vectors of 0 and 1; 0 where neither has a label: nothing said earns nothing."""
    both, total = sum(a and b for a, b in zip(one, other, strict=True)), sum(one) + sum(other)
    return 2 * both / total if total else 0.0


def _within_actor() -> bool:
    import ray

    return ray.is_initialized() and ray.get_runtime_context().get_actor_id() is not None
