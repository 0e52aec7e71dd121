"""Lets a torchvision that was built for CUDA be imported next to a CPU build of torch.

The registry's only Linux torchvision is a CUDA build. Beside CPU torch its compiled operators do not load and `import
torchvision` dies with "operator torchvision::nms does not exist", although Qwen-VL processors need only its Python
parts. Declaring the two operators it looks up at import is enough. torch calls this through the entry point
group `torch.backends` at the end of `import torch`, in every process.

Guard: tests/reasoner/compat/test_torchvision.py.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
WRITTEN_FOR = "0.28"
_library: Any = None  # operators live as long as the library that declares them


def define_missing_operators() -> None:
    """Declares `torchvision::nms` and `::qnms`; nothing when torch has CUDA or torchvision is absent or a CPU build."""
    global _library
    import torch

    if torch.version.cuda or not _built_for_cuda():
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(name + _SCHEMA)
    _library = library


def _built_for_cuda() -> bool:
    """Whether the installed torchvision is a CUDA build, without importing it; False when there is none."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    version = Path(spec.origin).with_name("version.py")
    return version.is_file() and "+cu" in version.read_text(encoding="utf-8")
