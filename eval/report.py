"""The report: one self-contained HTML page, and the same in Markdown with the plots as files."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from eval import figures
from eval.bootstrap import Estimate, Statistics
from eval.traces import Trace
from reasoner.schema import CLASSES
from reasoner.scores import BY_AGREEMENT, BY_REWARD, COUNTS, HEADLINE, MODES

#: name -> split -> mode -> metric -> estimate
Table = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Estimate]]]]

SFT_PANELS = (
    ("Loss (nats/token)", {"loss": "loss"}),
    ("Token accuracy", {"mean_token_accuracy": "accuracy"}),
    ("Entropy (nats)", {"entropy": "entropy"}),
)
#: Every reward component that was logged gets its own panel after these (see `_grpo_panels`).
GRPO_PANELS = (
    ("Weighted reward", {"reward": "reward"}),
    ("Entropy (nats)", {"entropy": "entropy"}),
    ("Completion length (tokens)", {"completions/mean_length": "length"}),
    ("|log p| gap, vLLM vs trainer", {"sampling/sampling_logp_difference/mean": "gap"}),
)
_TRIVIAL_METRICS = ("micro_f1", "micro_f1_13", "macro_f1", "exact_match", "answer", "skill", "radrscore")
#: What choosing among samples is judged by, beside its cost.
_CHOICE_METRICS = ("micro_f1", "answer", "claim_f1", "radrscore", "skill")
_OUT_OF_DISTRIBUTION = "site_b"


class Evaluation(NamedTuple):
    """All that the report shows. `trivial`: policy -> split -> metric -> estimate."""

    scores: Table
    differences: Table
    trivial: Mapping[str, Mapping[str, Mapping[str, Estimate]]]
    name: str = ""
    source: str = ""
    meta: Mapping[str, Any] = {}
    histories: Mapping[str, Sequence[Mapping[str, Any]]] = {}
    traces: Sequence[Trace] = ()
    #: (model, split, mode) -> what its scores were made of.
    statistics: Mapping[tuple[str, str, str], Statistics] = {}

    def to_dict(self) -> dict[str, Any]:
        """What `scores.json` holds: one key per model, then `differences`, `trivial` and `meta`."""
        return {
            **_plain(self.scores),
            "differences": _plain(self.differences),
            "trivial": _plain(self.trivial),
            "meta": dict(self.meta),
        }


def write_report(folder: Path, evaluation: Evaluation) -> None:
    """Writes `report.html`, `report.md` and `figures/*.png`."""
    drawn = _draw(folder / "figures", evaluation)
    shared = {
        "evaluation": evaluation,
        "metrics": HEADLINE,
        "tables": _tables(evaluation),
        "findings": _findings(evaluation),
        "choices": _choices(evaluation.scores),
        "choice_metrics": [*(HEADLINE[name] for name in _CHOICE_METRICS), COUNTS["tokens"]],
        "trivial": _trivial_rows(evaluation),
        "trivial_metrics": [HEADLINE[name] for name in _TRIVIAL_METRICS],
        "shifts": _shifts(evaluation.scores),
        "classes": [name for name in CLASSES if _class_seen(evaluation.scores, name)],
    }
    environment = Environment(
        loader=PackageLoader("eval"),
        undefined=StrictUndefined,
        autoescape=lambda name: bool(name and name.endswith(".html.j2")),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    embedded = {name: data_uri(path) for name, path in drawn.items()}
    linked = {name: path.relative_to(folder).as_posix() for name, path in drawn.items()}
    for suffix, plots in (("html", embedded), ("md", linked)):
        page = environment.get_template(f"report.{suffix}.j2").render(**shared, plots=plots)
        (folder / f"report.{suffix}").write_text(page, encoding="utf-8")


def data_uri(path: Path) -> str:
    kind = "jpeg" if path.suffix.lower() in (".jpg", ".jpeg") else "png"
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _plain(node: Any) -> Any:
    if isinstance(node, Estimate):
        return {name: round(value, 6) for name, value in node._asdict().items()}
    return {key: _plain(value) for key, value in node.items()}


def _draw(folder: Path, evaluation: Evaluation) -> dict[str, Path]:
    labels = {name: HEADLINE[name] for name in ("micro_f1", "radrscore") if _measured(evaluation.scores, name)}
    drawn = {}
    best = {name: _best_trivial(evaluation, name) for name in labels}
    if labels:
        single = {
            model: {split: _single(modes) for split, modes in s.items()} for model, s in evaluation.scores.items()
        }
        drawn["headline"] = figures.save(figures.headline(single, labels, best), folder / "headline.png")
    for split in _splits(evaluation.scores):
        if _measured(evaluation.scores, "macro_f1", split):
            name = f"per_class_{split}"
            drawn[name] = figures.save(figures.per_class(evaluation.scores, split), folder / f"{name}.png")
    for stage, history in evaluation.histories.items():
        if any("loss" in row for row in history):
            panels = SFT_PANELS if stage == "sft" else _grpo_panels(history)
            name = f"learning_{stage}"
            drawn[name] = figures.save(figures.learning_curves(history, panels), folder / f"{name}.png")
    return drawn


def _grpo_panels(history: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, str]]]:
    logged = {key for row in history for key in row}
    rewards = sorted(key for key in logged if key.startswith("rewards/") and key.endswith("/mean"))
    components = [(f"Reward: {key.split('/')[1]}", {key: "mean"}) for key in rewards]
    parts = {key: key.removeprefix("parts/") for key in sorted(logged) if key.startswith("parts/")}
    return [GRPO_PANELS[0], *components, ("Parts of process", parts), *GRPO_PANELS[1:]]


def _tables(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One table per split and mode: a row per metric, a column per model, then the differences."""
    found = []
    for split in _splits(evaluation.scores):
        for mode in dict.fromkeys(mode for splits in evaluation.scores.values() for mode in splits.get(split, {})):
            models = [name for name, splits in evaluation.scores.items() if mode in splits.get(split, {})]
            pairs = [name for name, splits in evaluation.differences.items() if mode in splits.get(split, {})]
            measured = [evaluation.scores[name][split][mode] for name in models]
            compared = [evaluation.differences[name][split][mode] for name in pairs]
            accuracies = sorted({name for metrics in measured for name in metrics if name.startswith("accuracy/")})
            names = {name: label for name, label in HEADLINE.items() if any(name in m for m in measured)}
            names |= {name: f"Accuracy, {name.split('/')[1]}" for name in accuracies}
            names |= {name: label for name, label in COUNTS.items() if any(name in m for m in measured)}
            rows = [
                (label, [m.get(name) for m in measured], [c.get(name) for c in compared])
                for name, label in names.items()
            ]
            found.append({"split": split, "mode": MODES[mode], "models": models, "pairs": pairs, "rows": rows})
    return found


def _findings(evaluation: Evaluation) -> list[str]:
    """The differences that matter, in words."""
    sentences = []
    for pair, splits in evaluation.differences.items():
        after, before = pair.split("-")
        for split, modes in splits.items():
            for mode, metrics in _single(modes).items():
                told = [
                    f"{HEADLINE[name]} {metrics[name].value:+.3f} [{metrics[name].low:+.3f}, {metrics[name].high:+.3f}]"
                    f"{'' if metrics[name].excludes_zero else ' (interval includes zero)'}"
                    for name in ("micro_f1", "radrscore")
                    if name in metrics
                ]
                if told:
                    sentences.append(f"{after} against {before}, {split}, {mode}: {'; '.join(told)}")
    return sentences


def _single(modes: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Mapping[str, Estimate]]:
    """The modes that do not choose among samples."""
    return {mode: metrics for mode, metrics in modes.items() if mode not in (BY_AGREEMENT, BY_REWARD)}


def _choices(scores: Table) -> dict[str, list[tuple[str, str, list[Estimate | None]]]]:
    """Split -> (model, mode, estimates of `_CHOICE_METRICS` and tokens), for models that choose among samples."""
    return {
        split: rows
        for split in _splits(scores)
        if (
            rows := [
                (model, label, [splits[split][mode].get(name) for name in (*_CHOICE_METRICS, "tokens")])
                for model, splits in scores.items()
                if BY_AGREEMENT in splits.get(split, {})
                for mode, label in MODES.items()
                if mode in splits[split]
            ]
        )
    }


def _trivial_rows(evaluation: Evaluation) -> dict[str, list[tuple[str, list[Estimate | None]]]]:
    """Split -> (policy, estimates of `_TRIVIAL_METRICS`), the models' greedy decoding below for comparison."""
    found: dict[str, list[tuple[str, list[Estimate | None]]]] = {}
    for policy, splits in evaluation.trivial.items():
        for split, metrics in splits.items():
            found.setdefault(split, []).append((policy, [metrics.get(name) for name in _TRIVIAL_METRICS]))
    for model, modes in evaluation.scores.items():
        for split, rows in found.items():
            if greedy := modes.get(split, {}).get("greedy"):
                rows.append((f"{model} (greedy)", [greedy.get(name) for name in _TRIVIAL_METRICS]))
    return found


def _best_trivial(evaluation: Evaluation, metric: str) -> dict[str, float]:
    """Split -> the highest value that a policy without the image reaches."""
    best: dict[str, float] = {}
    for splits in evaluation.trivial.values():
        for split, metrics in splits.items():
            if metric in metrics:
                best[split] = max(best.get(split, 0.0), metrics[metric].value)
    return best


def _shifts(scores: Table) -> list[tuple[str, str, Estimate, Estimate]]:
    """(model, metric, test, out of distribution), greedy."""
    return [
        (model, HEADLINE[name], splits["test"]["greedy"][name], splits[_OUT_OF_DISTRIBUTION]["greedy"][name])
        for model, splits in scores.items()
        if {"test", _OUT_OF_DISTRIBUTION} <= splits.keys()
        for name in ("micro_f1", "macro_f1", "radrscore")
        if all(name in splits[split].get("greedy", {}) for split in ("test", _OUT_OF_DISTRIBUTION))
    ]


def _splits(scores: Table) -> list[str]:
    return list(dict.fromkeys(split for splits in scores.values() for split in splits))


def _measured(scores: Table, metric: str, split: str | None = None) -> bool:
    return any(
        metric in metrics
        for splits in scores.values()
        for name, modes in splits.items()
        if split in (None, name)
        for metrics in modes.values()
    )


def _class_seen(scores: Table, name: str) -> bool:
    return _measured(scores, f"f1/{name}")
