"""Hostile recipes, overrides and flags: the command line answers each with the recipe or with one line."""

from __future__ import annotations

import random
import re

import pytest
import yaml

from recipes import RECIPES, known_recipes
from recipes.cli import main
from tests.hostile import MANY

TEXTS = [(RECIPES / name / "recipe.yaml").read_text(encoding="utf-8") for name in known_recipes()]
#: What YAML, numbers and paths trip over.
SCRAPS = [
    *("\t", "\0", "\x85", "\u2028", "\ufeff", "\ud800", "\x1b[31m", "é", "\n", "{", "}", "[", "]", "- ", ": ", "? "),
    *("#", "'", '"', "@", "`", ",", "|\n", ">\n", "%YAML 9\n", "---\n", "...\n"),
    *("&a ", "*a", "<<: ", "!!python/name:os ", "!!bool ", "[" * 50, "[1, 2]", "{a: 1}", "null", "~", "yes"),
    *(".inf", "-.inf", ".nan", "1e999", "-0", "0", "1", "-1", "2.5", "1_0", "0x", "0b_", "1:30", "9" * 50, "9" * 5000),
    *("2020-13-45", "a.b", "..", "/", "../../etc", "__class__"),
]
SECTIONS = ("name", "seed", "output", "minutes", "min_free_gb", "data", "model", "sft", "grpo", "eval", "export")
KEYS = ("options", "trainer", "augment", "rewards", "tasks", "lora", "splits", "max_length", "film", "limit", "")
STAGES = ("mine", "eval", "export")
FLAGS = ("--force", "--if-needed", "--limit", "--models", "--source", "--nonsense", "--set", "--", "-x", "--=")


def damaged(text: str, rng: random.Random) -> bytes:
    """The text with up to five cuts, copies, swaps and scraps; now and then in another encoding."""
    for _ in range(rng.randint(0, 5)):
        at, to = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        to = min(to, at + rng.choice((1, 5, 40, 400)))
        piece = rng.choice((rng.choice(SCRAPS), "", text[at:to] * 2, text[at:to][::-1], text[at:to].upper()))
        text = text[:at] + piece + text[to:]
    lines = text.splitlines()
    if lines and rng.random() < 0.2:  # another value at a key that is there
        number = rng.randrange(len(lines))
        lines[number] = lines[number].partition(":")[0] + ": " + rng.choice(SCRAPS)
        text = "\n".join(lines)
    encoding = rng.choice(("utf-8",) * 20 + ("latin-1", "utf-16"))
    return text.encode(encoding, "replace" if encoding == "latin-1" else "surrogatepass")


def some_sections(text: str, rng: random.Random) -> str:
    """About a third of a recipe's sections: parsing YAML takes most of the time."""
    head, *sections = re.split(r"\n(?=\w+:)", text)
    return "\n".join([head, *(section for section in sections if rng.random() < 0.35)])


def override(rng: random.Random) -> str:
    parts = [rng.choice(SECTIONS), *(rng.choice((*KEYS, *SCRAPS)) for _ in range(rng.choice((0, 1, 1, 1, 2, 30))))]
    return ".".join(parts) + rng.choice(("=", "=", "=", "", "==")) + rng.choice(SCRAPS)


def command(rng: random.Random, recipe: str) -> list[str]:
    words = [rng.choice(STAGES), rng.choice(("--config", "--config", "--recipe")), recipe, "--dry-run"]
    for _ in range(rng.choice((0, 0, 1, 3))):
        words += ["--set", override(rng)]
    if rng.random() < 0.1:
        words += [rng.choice(FLAGS), rng.choice(SCRAPS)]
    return words


@pytest.mark.parametrize("count", [400, pytest.param(MANY, marks=pytest.mark.slow)])
def test_hostile_recipes_are_answered_with_the_recipe_or_one_line(count, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("recipes.dry_run.inspect", lambda *given: [])  # rows are for test_dry_run.py
    file = tmp_path / "mine.yaml"
    good = 0
    for seed in range(count):
        rng = random.Random(seed)
        file.write_bytes(damaged(some_sections(rng.choice(TEXTS), rng), rng))
        words = command(rng, str(file) if rng.random() < 0.95 else rng.choice(SCRAPS))
        try:
            code = main(words)
        except BaseException as error:
            pytest.fail(f"seed {seed}, {words}: {type(error).__name__}: {error}")
        out, err = capsys.readouterr()
        if code == 0:
            assert err == "", (seed, words)
            good += 1
            assert set(yaml.safe_load(out)) >= {"name", "output", "data", "model"}, (seed, words)
        else:
            assert code == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1, (seed, words, err)
            assert err.strip().isprintable() and len(err) < 1100, (seed, words, err)
        assert list(tmp_path.iterdir()) == [file], (seed, words)
    assert 0.02 * count < good < 0.9 * count, "neither all refused nor all accepted, or this shows nothing"
