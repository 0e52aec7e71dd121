"""`--dry-run` on data: every shipped recipe on a small set in its own format, and what is said of wrong rows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from reasoner.errors import UserError
from reasoner.schema import Asked, Example
from recipes import RECIPES, known_recipes
from recipes.cli import main
from recipes.load import load_recipe
from recipes.sample import take
from recipes.sft import check, teaching
from tests.reasoner.sources.conftest import LAYOUTS

#: The tokens of a picture under the recipe's image budget, 28 x 28 pixels each: of 32 x 32 pixels, and for phantoms
#: of 112 x 112 and 140 x 140.
IMAGE_TOKENS = {
    "phantom": 16,  # (112 / 28)^2
    "phantom_questions": 25,  # (140 / 28)^2
    "chestx_reasoner_7b": 256,  # drawn to 448 x 448
    "nv_reason_3b": 25,  # to 128 x 128 at least: 5 x 28 = 140
    "phantom_stages": 16,
    "phantom_boxes": 16,
    "cxrtrek_stages": 144,  # to 100,352 pixels at least: 12 x 28 = 336
    "qwen3_vl_4b": 361,  # to 512 x 512 at least: 19 x 28 = 532
}
QUESTION = {"question": "Is it wet?", "answer": "Yes", "report": "FINDINGS: There is edema."}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny Qwen2.5-VL that stands in for the bases of the recipes."""
    from reasoner.models import tiny

    texts = ["Is there an effusion? Yes. The heart is enlarged.", "Which of these is seen? A) edema B) nodule"] * 8
    return tiny.build(tmp_path_factory.mktemp("base") / "tiny", texts, vocab_size=400, max_position_embeddings=8192)


@pytest.fixture
def run(tmp_path, capsys):
    """Runs the dry run of a stage and gives what it said of the rows; it prints the recipe and makes nothing."""

    def dry(stage: str, name: str, **sets: object) -> str:
        sets = {"output": tmp_path / "out", **sets}
        before = sorted(tmp_path.rglob("*"))
        code = main([stage, "--recipe", name, "--dry-run", *(f"--set={key}={value}" for key, value in sets.items())])
        out, told = capsys.readouterr()
        assert code == 0, told
        assert yaml.safe_load(out)["name"] == name and sorted(tmp_path.rglob("*")) == before
        return told

    return dry


def collection(name: str, folder: Path) -> dict[str, object]:
    """A small collection in the recipe's format, as settings."""
    source = load_recipe(name).data.source
    if source == "phantom":
        return {}
    folder.mkdir()
    place = LAYOUTS[source](folder, True)
    named = "images" in load_recipe(name).data.options or source == "cxrtrek"  # its README names them
    images = {"data.options.images": folder} if named else {}
    return {"data.input": place, **images}


def mined(output: Path, *examples: Example) -> None:
    """Leaves a mined data set behind."""
    folder = output / "data" / "examples"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([example.to_dict() for example in examples]), folder / "train-00000.parquet")


def picture(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (56, 84), dtype=np.uint8)).save(path)
    return str(path)


@pytest.mark.parametrize("name", known_recipes())
def test_every_shipped_recipe_passes_on_a_small_set_in_its_own_format(name, base, run, tmp_path):
    sets = collection(name, tmp_path / "in")
    if load_recipe(name).model.base != "tiny":
        sets["model.base"] = base
    for stage in ("mine", "sft", "grpo", "eval"):
        told = run(stage, name, **sets)
        assert re.search(
            r"^rows +\d+ .*; from \d+ studies of '\w+' that were mined for this check$", told, re.MULTILINE
        )
        assert re.search(r"^pictures \d+ decoded, ", told, re.MULTILINE) and "WARNING" not in told
        assert re.search(r"^rewards  of the references: .*(answer|stage) \d\.\d\d", told, re.MULTILINE)
        assert "format 1.00" in told and "not computed" not in told
        if "model.base" in sets or stage in ("sft", "grpo"):
            shown = f"<|vision_start|><|image_pad|> x {IMAGE_TOKENS[name]}<|vision_end|>"
            assert shown in told and told.rstrip().endswith("<|im_end|>")
            assert "prompts " in told and "0 longer than model.max_length" in told


def test_without_the_base_s_tokenizer_the_rest_is_checked_all_the_same(run, tmp_path):
    told = run("sft", "chestx_reasoner_7b", **collection("chestx_reasoner_7b", tmp_path / "in"))
    assert "tokens   not counted, nor the chat template applied: Qwen/Qwen2-VL-7B-Instruct: the processor" in told
    assert "decoded" in told and "process " in told and "[user] <image>" in told and "<think> " in told


def test_nothing_to_look_at_is_a_line(run, tmp_path):
    told = run("sft", "qwen3_vl_4b", **{"data.input": tmp_path / "no.jsonl"})
    assert "rows     not checked: nothing is mined yet, and " in told and "no.jsonl: no such file" in told
    assert main(["mine", "--recipe", "qwen3_vl_4b", "--dry-run", f"--set=data.input={tmp_path / 'no.jsonl'}"]) == 2


def test_the_mined_rows_are_looked_at_where_there_are_any(base, run, tmp_path):
    good, gone = (picture(tmp_path / "films" / f"{name}.png") for name in ("good", "gone"))
    rows = [
        Example(id="r", study_id="s", task="binary", reasoning="There is edema.", images=(good,), **QUESTION),
        Example(id="bare", study_id="s", task="binary", images=(good,), **QUESTION),
        Example(id="cut", study_id="s", task="binary", images=(gone,), **QUESTION),
    ]
    mined(tmp_path / "out", *rows)
    Path(gone).write_bytes(Path(gone).read_bytes()[:-60])  # its header is whole
    told = run("sft", "qwen3_vl_4b", **{"model.base": base, "model.min_pixels": 784, "model.max_pixels": 7840})
    assert f"rows     3 binary (2 without reasoning); from {tmp_path / 'out' / 'data'} (train)\n" in told
    assert "1 decoded, 84 x 56 to 84 x 56 pixels; 1 cannot be used" in told and "gone.png: damaged image" in told
    assert "WARNING: 1 references are not in the form that is asked for (bare: the <think> block is empty)" in told
    assert "columns  empty: reasoning in 1 rows" in told
    assert "<|image_pad|> x 6<|vision_end|>Is it wet?" in told  # 2 x 3 of 28 x 28
    assert "-- and the reference is:\n<think>There is edema.</think>\n<answer>Yes</answer><|im_end|>" in told


def test_limits_are_told_and_a_set_that_fits_none_is_refused(base, run, tmp_path, capsys):
    chain = "There is edema. " * 20
    image = picture(tmp_path / "a.png")
    mined(tmp_path / "out", Example(id="r", study_id="s", task="binary", reasoning=chain, images=(image,), **QUESTION))
    small = {"model.base": base, "model.min_pixels": 784, "model.max_pixels": 7840}
    told = run("grpo", "qwen3_vl_4b", **small, **{"grpo.trainer.max_completion_length": 16})
    assert "1 references longer than grpo.trainer.max_completion_length=16" in told
    sets = [f"--set={key}={value}" for key, value in {**small, "output": tmp_path / "out"}.items()]
    for stage in ("sft", "grpo"):
        assert main([stage, "--recipe", "qwen3_vl_4b", "--dry-run", *sets, "--set=model.max_length=32"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: no row of the sample fits model.max_length=32") and error.count("\n") == 1


def test_pictures_that_are_all_bad_are_refused(base, tmp_path, capsys):
    image = picture(tmp_path / "a.png")
    mined(tmp_path / "out", Example(id="r", study_id="s", task="binary", images=(image,), **QUESTION))
    Path(image).write_bytes(Path(image).read_bytes()[:-60])
    sets = (f"--set=output={tmp_path / 'out'}", f"--set=model.base={base}")
    assert main(["grpo", "--recipe", "qwen3_vl_4b", "--dry-run", *sets]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: pictures of ") and "a.png: damaged image" in error and error.count("\n") == 1


def test_a_reward_that_fails_on_a_row_is_told(base, run, tmp_path):
    image = picture(tmp_path / "a.png")
    mined(tmp_path / "out", Example(id="r", study_id="s", task="binary", reasoning="Wet.", images=(image,), **QUESTION))
    (tmp_path / "own.py").write_text(
        "from rewards import reward\n@reward('shaky')\ndef shaky(completion): raise ValueError('so\\nit goes')\n",
        "utf-8",
    )
    sets = {"grpo.reward_files": f"['{tmp_path / 'own.py'}']", "grpo.rewards": "{shaky: 1.0, format: 0.2}"}
    assert "shaky fails (ValueError: so it goes), format 1.00" in run(
        "grpo", "qwen3_vl_4b", **sets, **{"model.base": base}
    )


def test_a_source_without_a_recipe_is_sampled_too(tmp_path, capsys):
    place = LAYOUTS["iu_xray"](tmp_path, True)
    output = tmp_path / "mined"
    assert main(["mine", "--source", "iu_xray", "--input", str(place), "--output", str(output), "--dry-run"]) == 0
    told = capsys.readouterr().err
    assert (
        "; from 2 studies of 'iu_xray' that were mined for this check" in told and "left out: 1 x empty report" in told
    )
    assert not output.exists()


def rows(count: int) -> list[Example]:
    return [Example(id=f"e{n}", study_id="s", task="binary", reasoning="Wet.", **QUESTION) for n in range(count)]


def test_a_share_of_the_rows_is_taught_without_reasoning_the_same_one_each_time():
    def recipe(share, seed=0):
        return load_recipe("chestx_reasoner_7b", [f"sft.answer_only={share}", f"seed={seed}"])

    def taught(own, examples):
        return list(map(teaching(own), examples))

    examples = rows(2000)
    half = taught(recipe(0.5), examples)
    bare = {example.id for example in half if not example.reasoning}
    assert 0.45 < len(bare) / 2000 < 0.55 and half == taught(recipe(0.5), examples)
    assert [(e.id, e.answer, e.question) for e in half] == [(e.id, e.answer, e.question) for e in examples]
    assert bare < {e.id for e in taught(recipe(0.8), examples) if not e.reasoning}, "a larger share holds the smaller"
    assert bare != {e.id for e in taught(recipe(0.5, seed=1), examples) if not e.reasoning}
    assert teaching(recipe(0.0)) is None
    assert not any(example.reasoning for example in taught(recipe(1.0), examples))


def test_a_dialogue_without_reasoning_has_none_in_any_turn():
    turns = tuple(Asked(f"d-{n}", "Is it wet?", "Yes", reasoning="There is edema.") for n in range(3))
    dialogue = Example("d", "s", "stage", question="", answer="", turns=turns)
    bare = teaching(load_recipe("chestx_reasoner_7b", ["sft.answer_only=1"]))(dialogue)
    assert [turn.answer for turn in bare.turns] == ["Yes"] * 3 and not any(turn.reasoning for turn in bare.turns)


@pytest.mark.parametrize("stages", [[8], [2, 5]])
def test_of_a_dialogue_the_stages_of_grpo_are_looked_at(stages, tmp_path):
    recipe = load_recipe("phantom_stages", [f"output={tmp_path / 'out'}", f"grpo.stages={stages}"])
    assert {example.stage for example in take(recipe, "grpo", tmp_path).examples} == set(stages)


def test_a_share_without_reasoning_needs_a_profile_that_tells_them_apart():
    assert check(load_recipe("chestx_reasoner_7b")).num_train_epochs == 5
    with pytest.raises(UserError, match=r"sft\.answer_only: the profile 'ours' asks all rows alike"):
        check(load_recipe("chestx_reasoner_7b", ["model.profile=ours"]))
    assert "answer_only" not in load_recipe("phantom").model_dump()["sft"]


def commands(readme: Path) -> list[list[str]]:
    """The commands of a README that run a stage of a recipe, as arguments of `reasoner`."""
    found = []
    for block in re.findall(r"```bash\n(.*?)```", readme.read_text("utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            first, *words = shlex.split(line, comments=True) or [""]
            given = dict(word.split("=", 1) for word in words if re.match(r"[A-Z]+=", word))
            if first == "make":
                found.append([words[0], "--recipe", given["RECIPE"], *shlex.split(given.get("ARGS", ""))])
            elif first == "reasoner" and "--recipe" in words:
                found.append(words)
    return found


@pytest.mark.parametrize("readme", sorted(RECIPES.glob("*/README.md")), ids=lambda path: path.parent.name)
def test_the_commands_of_a_recipe_s_readme_are_right(readme, base, tmp_path, capsys):
    name = readme.parent.name
    known = commands(readme)
    assert {words[0] for words in known} >= {"mine", "sft", "grpo", "eval"}
    sets = [f"--set={key}={value}" for key, value in collection(name, tmp_path / "in").items()]
    for words in known:
        assert words[words.index("--recipe") + 1] == name
        extra = [] if "--dry-run" in words else ["--dry-run"]
        assert main([*words, *sets, f"--set=model.base={base}", *extra]) == 0, (words, capsys.readouterr().err)
