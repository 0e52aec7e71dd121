"""Where studies come from. `open_source` finds a source by name and imports only that one."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

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
    kinds = get_type_hints(build.__init__)
    for option, value in (options or {}).items():
        if not _fits(value, kinds[option]):
            wanted = getattr(kinds[option], "__name__", kinds[option])
            raise UserError(
                f"source '{name}': option '{option}' takes {wanted}, found {value!r:.60}; mend data.options"
            )
    try:  # Ray workers may have another working directory.
        place = os.path.realpath(input) if input else None
    except ValueError as error:
        raise UserError(f"{input}: cannot be the name of a file ({error}); mend the input") from None
    return build(place, Path(output).resolve(), **(options or {}))


def _fits(value: Any, kind: Any) -> bool:
    """Whether an option's value is of the annotated kind; a whole number is a float, a truth value is no number."""
    kinds = get_args(kind) or (kind,)
    if isinstance(value, int) and not isinstance(value, bool):
        return int in kinds or float in kinds
    return type(value) in kinds
