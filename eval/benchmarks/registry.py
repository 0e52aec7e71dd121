"""The benchmarks by name. Each is imported when it is asked for: they need different libraries."""

from __future__ import annotations

from importlib import import_module

from eval.benchmarks.base import Benchmark
from reasoner.errors import UserError

#: Name -> module and class.
BENCHMARKS: dict[str, tuple[str, str]] = {
    "radrbench": ("eval.benchmarks.radrbench", "Radrbench"),
    "abnormality_list": ("eval.benchmarks.abnormality_list", "AbnormalityList"),
    "cxrtrek": ("eval.benchmarks.cxrtrek", "Cxrtrek"),
    "phantom": ("eval.benchmarks.phantom", "Phantom"),
}


def open_benchmark(name: str) -> Benchmark:
    """The benchmark of this name.

    Raises:
        UserError: there is none.
    """
    if name not in BENCHMARKS:
        raise UserError(f"--benchmark {name}: unknown; one of {', '.join(BENCHMARKS)}")
    module, kind = BENCHMARKS[name]
    benchmark: Benchmark = getattr(import_module(module), kind)()
    return benchmark
