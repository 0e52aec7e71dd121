"""What a training logs, kept line by line and drawn while it goes on."""

from __future__ import annotations

import json
from statistics import fmean

import pytest

from benchmarks.page.browser import browser, why_not
from eval.page.live import PANELS, Training, panels, thinned, write_live
from eval.watch import trainings, watch
from reasoner.errors import UserError
from reasoner.runtime.metrics_log import MetricsLog

GRPO = {
    "reward": 0.5, "reward_std": 0.1, "rewards/answer/mean": 0.4, "rewards/answer/std": 0.1, "parts/found": 0.3,
    "kl": 0.01, "sampling/sampling_logp_difference/mean": 1e-7, "entropy": 0.2, "completions/mean_length": 40.0,
    "completions/min_terminated_length": 3.0, "completions/clipped_ratio": 0.0, "frac_reward_zero_std": 0.5,
    "reward_pool/latency_p50_ms": 3.0, "reward_pool/batch_s": 0.2, "loss": float("nan"), "grad_norm": None,
    "seconds_per_step": 2.0, "tokens_per_second": 25.0,
}  # fmt: skip


def rows(count: int) -> list[dict]:
    return [{"step": n, "time": 100.0 + 2 * n, "num_tokens": 50 * n, "max_steps": 9, **GRPO} for n in range(1, count)]


def test_each_number_has_its_panel():
    shown = {panel["title"]: {line["name"]: line["points"] for line in panel["lines"]} for panel in panels(rows(4))}
    assert list(shown) == [title for title in PANELS if title in shown]  # in their order
    total = shown["Total reward"]
    assert total == {"reward": [(1, 0.5), (2, 0.5), (3, 0.5)], "reward_std": [(1, 0.1), (2, 0.1), (3, 0.1)]}
    assert list(shown["Rewards by name"]) == ["rewards/answer/mean"]
    assert list(shown["Length of completions (tokens)"]) == ["completions/mean_length"]
    assert not {"Held-out scores", "Gradient norm", "Loss"} & shown.keys()  # nothing, and no number


def test_long_runs_are_averaged_and_short_ones_are_not():
    points = [(step, float(step % 7)) for step in range(1, 10_000)]
    few = thinned(points)
    assert len(few) <= 400 and few[-1][0] == 9_999
    assert fmean(value for _, value in few) == pytest.approx(fmean(value for _, value in points), abs=0.01)
    assert thinned(points[:400]) == points[:400]


def test_a_log_goes_on_where_the_run_does_and_survives_a_kill(tmp_path):
    log = MetricsLog(tmp_path, "grpo")
    log.start(0)
    for step in (1, 2, 3):
        log.add(step, {"reward": step / 10, "bad": float("nan")})
    with log.path.open("a", encoding="utf-8") as file:
        file.write('{"step": 4, "rew')  # killed
    log.start(2)  # the checkpoint of step 2 is gone on from
    log.add(3, {"reward": 0.3})
    assert [(row["step"], row["reward"]) for row in log.rows()] == [(1, 0.1), (2, 0.2), (3, 0.3)]
    log.start(0)
    assert log.rows() == []


def test_what_is_watched_is_the_log_or_else_the_result(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        watch(tmp_path / "none", once=True)
    with pytest.raises(UserError, match="nothing is logged there yet"):
        watch(tmp_path, once=True)
    (tmp_path / "sft").mkdir()
    history = [{"step": 5, "loss": 1.0}, {"step": 10, "eval_loss": 0.9}]
    (tmp_path / "sft" / "trainer_state.json").write_text(json.dumps({"log_history": history}), encoding="utf-8")
    MetricsLog(tmp_path, "grpo").start(0)
    MetricsLog(tmp_path, "grpo").add(1, {"reward": 0.5, "max_steps": 9})
    assert [(one.name, len(one.rows), one.steps) for one in trainings(tmp_path)] == [("sft", 2, 0), ("grpo", 1, 9)]
    watch(tmp_path, once=True)
    assert (tmp_path / "watch" / "index.html").is_file()


@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_an_open_page_draws_what_is_logged_later(tmp_path):
    name = "</script><b>x"
    page = write_live(tmp_path / "wätch", name, [Training("sft", rows(3)), Training("grpo", rows(3), 9)])
    with browser() as tab:
        tab.size(1300, 900)
        tab.open(page)
        tab.until("document.querySelectorAll('#stage-grpo .panel').length > 10")
        assert tab.js("document.querySelector('h1').textContent") == name
        assert tab.js("document.querySelector('#stage-grpo h2').textContent") == "grpo: step 2 of 9"
        assert not tab.js("document.querySelector('#stage-sft').open")  # the last one stands open
        assert tab.js("document.querySelector('.legend').textContent") == "reward 0.5reward_std 0.1"
        write_live(tmp_path / "wätch", name, [Training("sft", rows(3)), Training("grpo", rows(5), 9)])
        tab.until("document.querySelector('#stage-grpo h2').textContent === 'grpo: step 4 of 9'")
        assert tab.errors == [] and all(url.startswith(("file:", "about:")) for url in tab.requests)
