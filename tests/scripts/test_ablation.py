from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from eval.arms import BEGIN, END, Cell, Place, Results, Table, compare, correct, publish, report
from eval.bootstrap import Statistics, read_statistics, write_statistics
from eval.metrics import statistics
from reasoner.errors import UserError
from reasoner.layout import GRPO, SFT
from recipes import stages
from recipes.load import load_recipe
from rewards.radrscore import PARTS
from rewards.registry import Score
from scripts.ablation import DESIGN, Run, link, parse, plan, read_design
from tests.recipes.test_road import SMALL

ROOT = Path(__file__).parents[2]


def ablation(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    args = [sys.executable, str(ROOT / "scripts" / "ablation.py"), *words]
    return subprocess.run(args, cwd=folder, env=env, capture_output=True, encoding="utf-8")


def planned(*words: str) -> list[Run]:
    options = parse(words)
    return plan(options, read_design(options.design))


def settings(run: Run) -> dict[str, str]:
    return dict(text.split("=", 1) for text in run.settings)


def test_sft_of_all_seeds_comes_first_and_is_shared_by_the_arms_of_its_seed():
    runs = planned("--seeds", "2", "--arms", "outcome", "default")
    assert [(run.arm, run.seed) for run in runs] == [
        (SFT, 0),
        (SFT, 1),
        ("outcome", 0),
        ("default", 0),
        ("outcome", 1),
        ("default", 1),
    ]
    for run in runs[2:]:
        assert run.start == runs[run.seed].folder / SFT and run.data == runs[0].data
        assert settings(run)["seed"] == str(run.seed)


def test_every_arm_has_the_same_budget_and_differs_from_sft_in_grpo_alone():
    runs = planned("--steps", "7", "--seeds", "1", "--set", "data.options.train=99")
    shared = set(runs[0].settings)
    assert {"grpo.trainer.max_steps=7", "data.options.train=99"} <= shared
    for run in runs[1:]:
        own = dict(text.split("=", 1) for text in run.settings if text not in shared)
        assert shared <= set(run.settings) and all(key.startswith("grpo.") for key in own)


def test_arms_with_the_same_settings_share_a_run():
    default, skill = (
        [run.folder for run in planned("--seeds", "1", "--arms", arm) if run.arm == arm]
        for arm in ("default", "outcome + skill")
    )
    assert default == skill
    assert len({run.folder for run in planned("--seeds", "1")}) == 1 + len(read_design(DESIGN).arms) - 1


def test_kernels_and_recipes_have_folders_of_their_own_and_share_data_by_recipe():
    runs = planned("--recipes", "phantom", "qwen3_vl_4b", "--kernels", "default", "avx2", "--seeds", "1", "--sft-only")
    assert len({run.folder for run in runs}) == 4 and len({run.data for run in runs}) == 2


@pytest.mark.parametrize(
    ("arms", "told"),
    [
        ("{a: {sft.max_examples: 3}}", "arms.a: 'sft.max_examples' is not of grpo"),
        ("{a: {grpo.trainer.max_steps: 3}}", "arms.a: 'grpo.trainer.max_steps' changes the budget"),
        ("{a: {grpo.trainer: {max_steps: 3}}}", "arms.a: 'grpo.trainer' changes the budget"),
        ("{sft: {}}", "arms.sft: is there by itself"),
    ],
)
def test_arms_may_change_neither_what_they_share_nor_their_budget(tmp_path, arms, told):
    path = tmp_path / "arms.yaml"
    path.write_text(f"metrics: [radrscore]\nmodes: [greedy]\narms: {arms}\n", encoding="utf-8")
    with pytest.raises(UserError, match=told):
        read_design(path)


def test_unknown_arms_keys_and_counts_are_refused(tmp_path):
    done = ablation(tmp_path, "--arms", "outcom")
    assert (done.returncode, done.stderr) == (2, "error: --arms: unknown arm 'outcom'; did you mean 'outcome'?\n")
    done = ablation(tmp_path, "--set", "grpo.rewardz={}")
    assert done.returncode == 2 and "did you mean 'rewards'" in done.stderr
    for text in ("0", "-1", "x", "1.5"):
        done = ablation(tmp_path, "--seeds", text)
        assert done.returncode == 2 and f"'{text}' is no count" in done.stderr


def test_nothing_to_report_is_said(tmp_path):
    done = ablation(tmp_path, "--report-only", "--seeds", "1", "--sft-only")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: outputs/ablation: no run was evaluated on test, site_b yet"


def test_runs_that_fail_are_told_and_do_not_keep_others_from_it(tmp_path):
    for seed in (0, 1):
        folder = tmp_path / "outputs" / "ablation" / "phantom" / "default" / f"sft-{seed}"
        folder.mkdir(parents=True)
        (folder / "sft.part").touch()  # a file where the stage's folder goes
    data = folder.parents[1] / "data" / "examples"
    data.mkdir(parents=True)
    (data / "train-00000.parquet").touch()
    (data.parent / "summary.json").write_text("{}", encoding="utf-8")
    words = ("--seeds", "2", "--arms", "outcome", "--set", "data.options.train=0")
    done = ablation(tmp_path, *words)
    told = [line for line in done.stderr.splitlines() if line.startswith("[")]
    assert len(told) == 4 and all("failed: " in line for line in told), done.stderr
    assert "could not be made" in told[-1] and "Traceback" not in done.stderr
    assert done.returncode == 1


def row(study: str, right: bool, score: float) -> dict:
    answer = "Edema" if right else "Cardiomegaly"
    return {
        **{"id": f"{study}-list", "study_id": study, "task": "abnormality_list", "question": "?", "options": []},
        **{"images": [], "reasoning": "", "answer": "Edema", "labels": None, "label_source": None, "report": ""},
        **{"sample": 0, "completion": f"<think>x</think><answer>{answer}</answer>"},
        **{"answer_reward": float(right), "radrscore": score},
    }


def measured(right: int, studies: int = 10) -> Statistics:
    rows = [row(f"s{i}", i < right, right / 10) for i in range(studies)]
    process = [{part: one["radrscore"] for part in PARTS} for one in rows]
    scores = [
        {
            "format": Score(1.0),
            "answer": Score(one["answer_reward"]),
            "skill": Score(one["radrscore"]),
            "process": Score(one["radrscore"], parts=parts),
        }
        for one, parts in zip(rows, process, strict=True)
    ]
    return statistics(rows, scores)


def place(root: Path, arm: str, seed: int, right: int, *, studies: int = 10) -> Place:
    """A run whose first `right` of ten studies are answered right, evaluated greedily on `test`."""
    folder = root / f"{arm}-{seed}"
    write_statistics(folder / "test-greedy.npz", measured(right, studies))
    return Place("phantom", "default", arm, seed, folder)


def reported(places: Sequence[Place], folder: Path, metric: str = "answer") -> Results:
    return report(places, folder, splits=["test"], modes=["greedy"], shown=[metric], meta=META)


META = {"commit": "abc", "steps": 2, "set": [], "runs_commits": ["abc"]}


def test_results_hold_every_seed_and_differences_paired_by_seed(tmp_path):
    right = {SFT: (3, 5, 4), "outcome": (5, 7, 6), "default": (6, 8, 7)}
    places = [place(tmp_path, arm, seed, n) for arm, seeds in right.items() for seed, n in enumerate(seeds)]
    results = reported(places, tmp_path, "radrscore")
    table = results.tables[Cell("phantom", "default", "test", "greedy")]
    assert table.levels["outcome"]["answer"].seeds == (0.5, 0.7, 0.6)
    assert table.levels["outcome"]["answer"].sd == pytest.approx(0.1)
    assert set(table.differences) == {("outcome", SFT), ("default", SFT), ("default", "outcome")}
    # Every seed of RadRScore gains the same on every study: nothing is uncertain about the difference.
    gain = table.differences["default", "outcome"]["radrscore"]
    assert gain.low == pytest.approx(0.1) and gain.high == pytest.approx(0.1) and gain.p < 0.01
    told = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert told["meta"] == META and told["cells"][0]["minus"]["outcome"]["default"]["radrscore"]["p_holm"] < 0.01
    lines = (tmp_path / "results.md").read_text(encoding="utf-8").splitlines()
    shown = next(line for line in lines if line.startswith("| RadRScore | default "))
    assert shown == (
        "| RadRScore | default | 0.700 | 0.100 | 0.600 to 0.800 | 0.600, 0.800, 0.700 "
        "| +0.300 [+0.300, +0.300], min +0.300 \\* | +0.100 [+0.100, +0.100], min +0.100 \\* |"
    )


def test_a_difference_is_of_the_seeds_that_both_have(tmp_path):
    places = [place(tmp_path, SFT, seed, 4) for seed in range(2)] + [place(tmp_path, "outcome", 1, 6)]
    table = next(iter(reported(places, tmp_path).tables.values()))
    assert table.differences["outcome", SFT]["answer"].seeds == pytest.approx((0.2,))
    assert "+0.200 (one seed)" in (tmp_path / "results.md").read_text(encoding="utf-8")
    json.loads((tmp_path / "results.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)  # no Infinity


def finish(run: Run, stage: str, when: str) -> None:
    """Puts a finished stage on record, as made now."""
    recipe = load_recipe(run.recipe, [*run.settings, f"output={run.folder}"])
    result = stages.result(recipe, stage)
    result.mkdir(parents=True, exist_ok=True)
    (result / stages.STAGES[stage].proof).write_text("{}", encoding="utf-8")
    made = stages.read_records(run.folder)
    told = {"seconds": 1.0, "peak_gib": 1.0, "finished": when}
    before = {name: made[name].run for name in stages.STAGES[stage].needs if name in made}
    record = stages.Finished(fingerprint=stages.fingerprint(recipe, stage), made_from=before, **told)
    stages.write_record(run.folder, stage, record)


def test_runs_count_while_settings_start_and_evaluation_are_their_own(tmp_path):
    words = ("--seeds", "1", "--arms", "outcome", "--output", str(tmp_path))
    sft, outcome = planned(*words)
    assert sft.statistics() is None
    finish(sft, SFT, "1")
    finish(sft, "eval", "2")
    assert sft.statistics() == sft.folder / "eval" / "statistics" / SFT
    outcome.folder.mkdir()
    link(sft.folder / SFT, outcome.folder, SFT)
    finish(outcome, GRPO, "3")
    assert outcome.statistics() is None
    finish(outcome, "eval", "4")
    assert outcome.statistics() == outcome.folder / "eval" / "statistics" / GRPO
    others = planned(*words, "--steps", "9")
    assert others[0].statistics() and others[1].statistics() is None
    finish(sft, SFT, "5")
    assert sft.statistics() is None and outcome.statistics() is None
    finish(sft, "eval", "6")
    assert sft.statistics() and outcome.statistics() is None


def test_seeds_on_other_studies_are_refused(tmp_path):
    places = [place(tmp_path, SFT, 0, 4), place(tmp_path, SFT, 1, 4, studies=8)]
    with pytest.raises(UserError, match="the same --limit"):
        reported(places, tmp_path)


def test_holm_goes_over_the_cells_of_one_comparison_and_metric():
    def table(gain: int) -> Table:
        arms = {SFT: (2, 3, 4), "outcome": (2 + gain, 3 + gain, 4 + gain)}
        return compare(
            {arm: {i: measured(n) for i, n in enumerate(right)} for arm, right in arms.items()}, cell("test")
        )

    def cell(split: str) -> Cell:
        return Cell("phantom", "default", split, "greedy")

    tables = {cell("test"): table(1), cell("val"): table(0)}
    family = correct(tables)["phantom", "default", "outcome", SFT, "radrscore"]
    own = tables[cell("test")].differences["outcome", SFT]["radrscore"].p
    assert family == {("test", "greedy"): pytest.approx(2 * own), ("val", "greedy"): 1.0}


def test_statistics_are_read_as_written_and_damage_is_told(tmp_path):
    path, written = tmp_path / "deep" / "x.npz", measured(3)
    write_statistics(path, written)
    read = read_statistics(path)
    assert read.studies == written.studies and read.columns.keys() == written.columns.keys()
    assert all((read.columns[name] == column).all() for name, column in written.columns.items())
    for damage in (path.read_bytes()[:100], b"", b"no archive"):
        path.write_bytes(damage)
        with pytest.raises(UserError, match=r"x\.npz: damaged"):
            read_statistics(path)


def test_tables_and_plots_are_published_between_the_markers(tmp_path):
    places = [place(tmp_path, arm, seed, 4 + seed) for arm in (SFT, "outcome") for seed in range(2)]
    results, docs = reported(places, tmp_path), tmp_path / "docs"
    docs.mkdir()
    page = docs / "results.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    for _ in range(2):
        publish(results, ["answer"], docs)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert text.count("| Answer reward | outcome |") == 1 and "img/ablation_phantom_default.png" in text
    assert (docs / "img" / "ablation_phantom_default.png").stat().st_size > 1000
    page.write_text("no markers", encoding="utf-8")
    with pytest.raises(UserError, match="needs the lines"):
        publish(results, ["answer"], docs)


def test_the_readme_has_the_headline_of_the_default(tmp_path):
    places = [place(tmp_path, arm, seed, 4 + seed) for arm in (SFT, "default") for seed in range(2)]
    results, docs = reported(places, tmp_path), tmp_path / "docs"
    docs.mkdir()
    for path in (docs / "results.md", tmp_path / "README.md"):
        path.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    publish(results, ["radrscore"], docs)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.count("| RadRScore |") == len(results.tables)
    assert "compared at" in text


@pytest.mark.slow
def test_an_arm_is_trained_from_the_sft_of_its_seed_compared_and_reused(tmp_path):
    words = ["--seeds", "1", "--arms", "outcome", "--steps", "2", "--splits", "test", "--limit", "6", "--jobs", "2"]
    words += [f"--set={key}={value}" for key, value in {**SMALL, "data.options.site_c": 0}.items()]
    done = ablation(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    output = tmp_path / "outputs" / "ablation"
    told = json.loads((output / "results.json").read_text(encoding="utf-8"))
    assert [(cell["split"], cell["mode"]) for cell in told["cells"]] == [("test", "greedy"), ("test", "sampled")]
    for cell in told["cells"]:
        assert {arm: found["seeds"] for arm, found in cell["arms"].items()} == {SFT: [0], "outcome": [0]}
        assert len(cell["minus"][SFT]["outcome"]["radrscore"]["seeds"]) == 1
    runs = output / "phantom" / "default"
    history = json.loads((runs / "outcome-0" / GRPO / "trainer_state.json").read_text(encoding="utf-8"))
    assert history["global_step"] == 2
    assert (runs / "outcome-0" / SFT).resolve() == (runs / "sft-0" / SFT).resolve()
    made = {path: path.stat().st_mtime_ns for path in runs.glob("*/*/model.safetensors")}
    again = ablation(tmp_path, *words)
    assert again.returncode == 0, again.stderr
    assert made == {path: path.stat().st_mtime_ns for path in runs.glob("*/*/model.safetensors")}
