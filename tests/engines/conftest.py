"""One cluster of Ray for all tests of a process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """A cluster with two CPUs, which engines join. Its workers find the modules of these tests."""
    from duelist.engines.ray import RayConfig, RayEngine

    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{Path(__file__).parent}:{before}"
    engine = RayEngine(RayConfig(workers=2, object_store_mib=128))
    try:
        engine._connected()
        yield
    finally:
        os.environ["PYTHONPATH"] = before
        engine.close()
