"""The simulated studies of `benchmarks/cascade.py`, for the tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

PATH = Path(__file__).parents[2] / "benchmarks" / "cascade.py"


def benchmark() -> Any:
    """The benchmark as a module."""
    name = "benchmark_of_the_cascade"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, PATH)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
    return sys.modules[name]
