"""Where studies come from. `open_source` finds a source by name and imports only that one."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reasoner.errors import UserError, nearest
from reasoner.sources.base import Source

#: name -> (module, class)
SOURCES: dict[str, tuple[str, str]] = {
    "phantom": ("reasoner.phantom.source", "PhantomSource"),
    "iu_xray": ("reasoner.sources.iu_xray", "IuXraySource"),
    "mimic_cxr": ("reasoner.sources.mimic_cxr", "MimicCxrSource"),
    "chexpert_plus": ("reasoner.sources.chexpert_plus", "ChexpertPlusSource"),
    "padchest_gr": ("reasoner.sources.padchest_gr", "PadchestGrSource"),
    "rexgradient": ("reasoner.sources.rexgradient", "RexgradientSource"),
    "cxrtrek": ("reasoner.sources.cxrtrek", "CxrtrekSource"),
    "radrbench": ("reasoner.sources.radrbench", "RadrbenchSource"),
    "jsonl": ("reasoner.sources.jsonl", "JsonlSource"),
}


def open_source(name: str, input: str | None, output: Path, options: Mapping[str, Any] | None = None) -> Source:
    """The source called `name` over `input`, with its own `options`; one that draws images puts them below `output`.

    Raises:
        UserError: no such source, or an option that it does not have.
    """
    if name not in SOURCES:
        raise UserError(f"unknown source '{name}'; {nearest(name, SOURCES)}")
    module, kind = SOURCES[name]
    build = getattr(importlib.import_module(module), kind)
    known = [n for n in build.__init__.__kwdefaults__ or {}]
    for option in options or {}:
        if option not in known:
            raise UserError(f"source '{name}': unknown option '{option}'; {nearest(option, known)}")
    # Ray workers may have another working directory.
    place = str(Path(input).resolve()) if input else None
    return build(place, Path(output).resolve(), **(options or {}))
