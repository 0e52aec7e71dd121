"""The shim that lets a CUDA torchvision be imported beside CPU torch."""

import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import pytest

from reasoner.compat import torchvision as shim


def test_torchvision_imports_in_a_fresh_process():
    subprocess.run([sys.executable, "-c", "import torch, torchvision.transforms.v2.functional"], check=True)


@pytest.mark.parametrize(
    ("version", "built_for_cuda"),
    [("'0.28.0+cu130'", True), ("'0.28.0+cpu'", False), ("'0.28.0'\ncuda = None", False)],
)
def test_only_a_cuda_build_is_helped(version, built_for_cuda, tmp_path, monkeypatch):
    (tmp_path / "version.py").write_text(f"__version__ = {version}\n", encoding="utf-8")
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    assert shim._built_for_cuda() is built_for_cuda


def test_nothing_happens_without_torchvision_and_a_second_call_is_harmless(monkeypatch):
    shim.define_missing_operators()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not shim._built_for_cuda()
