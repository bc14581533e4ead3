"""How the processes of a job are started."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from duelist.engines import launcher


@pytest.mark.parametrize(("device", "seen"), [("cpu", ""), ("cuda", "0,1")])
def test_processes_on_the_cpu_see_no_gpu(
    device: str, seen: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """transformers shards over the GPUs that it finds, whatever the recipe says."""
    found: list[dict[str, str]] = []

    class Recorded:
        def __init__(self, command: list[str], env: dict[str, str], **others: Any) -> None:
            found.append(env)

        def __enter__(self) -> Recorded:
            return self

        def __exit__(self, *error: object) -> None: ...

        def terminate(self) -> None: ...

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(subprocess, "Popen", Recorded)
    with launcher.started("module", tmp_path, 2, 1, device):
        pass
    assert [env["CUDA_VISIBLE_DEVICES"] for env in found] == [seen]
