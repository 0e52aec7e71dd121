"""The code that CONTRIBUTING.md shows runs as it stands there."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from reasoner.findings import lexicon
from reasoner.prompts import format_completion
from reasoner.schema import Rejected, Study

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def block(language: str, holding: str) -> str:
    """The code of the one block in `language` with these words."""
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```", TEXT, re.DOTALL | re.MULTILINE)
    (code,) = [textwrap.dedent(code) for code in found if holding in code]
    return code


def module(folder: Path, name: str, code: str) -> ModuleType:
    path = folder / f"{name}.py"
    path.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(f"contributed_{name}", path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_the_reward(tmp_path, monkeypatch):
    from rewards import registry

    registry.load_rewards()  # into the one that stays
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))
    module(tmp_path, "brevity", block("python", '@reward("brevity"'))
    rewards = registry.RewardSet.build({"brevity": 1.0}, options={"brevity": {"words": 3}})
    for words, value in (("a b c", 1.0), ("a b c d", 0.0)):
        assert rewards.score({"completion": format_completion(words, "Edema")})["brevity"].value == value


@pytest.mark.parametrize("by_folder", [False, True])
def test_the_source(tmp_path, by_folder):
    (tmp_path / "acme.csv").write_text(
        "accession,patient,findings,impression,file\n1,p1,The heart is enlarged.,Cardiomegaly.,1.png\n2,p2,,,2.png\n",
        encoding="utf-8",
    )
    acme = module(tmp_path, "acme", block("python", "class AcmeSource"))
    source = acme.AcmeSource(tmp_path if by_folder else tmp_path / "acme.csv", tmp_path / "out")
    parts = json.loads(json.dumps(source.partitions()))
    good, bad = [item for part in parts for item in source.read(part)]
    assert isinstance(good, Study) and good.report == "FINDINGS: The heart is enlarged.\n\nIMPRESSION: Cardiomegaly."
    assert isinstance(bad, Rejected) and bad.reason == "empty report"


def test_the_concept(tmp_path):
    """In a process of its own, as the lexicon is read once."""
    entry = textwrap.indent(block("yaml", "hydatid_cyst"), "  ")
    grown = tmp_path / "lexicon.yaml"
    grown.write_text(lexicon.PATH.read_text("utf-8").replace("\nconcepts:\n", f"\nconcepts:\n{entry}", 1), "utf-8")
    first, second = block("text", "hydatid_cyst present").splitlines()
    read = f"""
from pathlib import Path
from reasoner.findings import extract_text, lexicon
lexicon.PATH = Path({str(grown)!r})
for text in ({first.split(" => ")[0]!r}, {second.split(" => ")[0]!r}):
    print([(f.concept, f.status, f.laterality, f.size) for f in extract_text(text)])
"""
    done = subprocess.run([sys.executable, "-c", read], cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert done.stdout.splitlines() == [
        "[('hydatid_cyst', 'present', 'right', '40 mm')]",
        "[('hydatid_cyst', 'absent', None, None)]",
    ], done.stderr
