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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from reasoner.compat.radeval import import_radeval
from reasoner.errors import UserError, nearest
from reasoner.runtime.cluster import ensure_ray
from reasoner.settings import Float, Int
from rewards.judges.rules import Case
from rewards.registry import Score

#: RadEval's metrics that compare two texts on chest X-rays, higher is better, and the key of their value for one pair.
#: Left out: RadCliQ (lower is better), those for CT and mammography, those that pay per request (the judge `llm` does).
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

#: A text and another one that it is measured against.
Pair = tuple[str, str]


def _known(metric: str) -> str:
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; {nearest(metric, METRICS)}")
    return metric


def _allotted(gpus: float) -> float:
    if gpus < 0 or (gpus > 1 and gpus % 1):
        raise ValueError(f"must be from 0 to 1, or whole, found {gpus:g}")
    return gpus


@dataclass(frozen=True)
class RadEvalJudge:
    """A metric on `actors` Ray actors with `gpus` GPUs each (a fraction; 0: CPU), `timeout_s` seconds for a chunk."""

    gives_step_verdicts: ClassVar[bool] = False
    metric: Annotated[str, AfterValidator(_known)] = "radgraph"
    gpus: Annotated[Float, AfterValidator(_allotted)] = 0.25
    actors: Annotated[Int, Field(ge=1)] = 1
    timeout_s: Annotated[Float, Field(gt=0)] = 8.0
    kind: Literal["radeval"] = "radeval"

    def start(self) -> None:
        """Waits until every actor has loaded its metric; starts a Ray where none is running.

        Raises:
            UserError: a package, weights or GPUs that are not there.
        """
        import ray

        ensure_ray(os.cpu_count() or 1)
        needed, there = self.gpus * self.actors, ray.cluster_resources().get("GPU", 0.0)
        if needed > there:
            raise UserError(
                f"judge radeval needs {needed:g} GPUs ({self.actors} actors of {self.gpus:g}), the Ray cluster has "
                f"{there:g}; lower `gpus` or `actors` of the judge (gpus: 0 computes on the CPU)"
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

    def score(self, cases: Sequence[Case]) -> list[Score | None]:
        """The mean of the metric against reference chain and report; None where one of the two did not come in time."""
        pairs = [(case.text, other) for case in cases for other in (case.reference, case.report) if case.text.strip()]
        values = self._measure(list(dict.fromkeys(pairs)))
        return [self._score(case, values) for case in cases]

    def _score(self, case: Case, values: Mapping[Pair, float]) -> Score | None:
        sides = {"reference": case.reference, "report": case.report}
        silent = 0.0 if not case.text.strip() else None  # it says nothing, whatever a model makes of an empty text
        found = {side: values.get((case.text, other), silent) for side, other in sides.items()}
        parts = {f"{METRICS[self.metric]}_{side}": value for side, value in found.items() if value is not None}
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

    def _measure(self, pairs: Sequence[Pair]) -> dict[Pair, float]:
        """The values that came in time."""
        import ray

        shares = [pairs[number :: self.actors] for number in range(self.actors)]
        asked = {}
        try:
            for number, share in enumerate(shares):
                if share:
                    asked[self._actor(number).measure.remote(share)] = share
            done, late = ray.wait(list(asked), num_returns=len(asked), timeout=self.timeout_s) if asked else ([], [])
        except ray.exceptions.RayError:  # an actor that has just ended: the next chunk starts another
            return {}
        for call in late:
            ray.cancel(call)  # what has not begun need not
        measured: dict[Pair, float] = {}
        for call in done:
            try:
                values: list[float | None] = ray.get(call)
            except ray.exceptions.RayError:  # the rules stand in, and `judge_fallback` tells
                continue
            measured |= {pair: v for pair, v in zip(asked[call], values, strict=True) if v is not None}
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

    def measure(self, pairs: Sequence[Pair]) -> list[float | None]:
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
