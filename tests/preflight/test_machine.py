"""What the machine has: each finding's state follows from what is installed and reachable."""

from __future__ import annotations

import importlib.metadata
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from duelist.preflight import machine
from duelist.preflight.machine import Finding, constrained_versions, examine_machine, is_usable, requirements


def by_subject() -> dict[str, Finding]:
    return {f.about: f for f in examine_machine()}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the versions of packages; None: not installed."""
    real = importlib.metadata.version

    def set_versions(**versions: str | None) -> None:
        def version(name: str) -> str:
            found = versions.get(name.replace("-", "_"), real(name) if name.replace("-", "_") not in versions else None)
            if found is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return found

        monkeypatch.setattr(importlib.metadata, "version", version)

    return set_versions


def test_this_machine_can_run_duelist() -> None:
    found = by_subject()
    assert is_usable(list(found.values()))
    assert {"Python", "torch", "trl", "CPU", "memory", "disk, cache", "Hugging Face Hub"} <= found.keys()
    assert "HF_HUB_OFFLINE" in found["Hugging Face Hub"].found  # set for the tests
    assert any(about == "device" or about.startswith("device cuda") for about in found)


def test_the_tested_versions_and_the_requirements_are_those_of_the_project() -> None:
    assert constrained_versions()["huggingface-hub"] and constrained_versions()["torch"]
    names = {Requirement(r).name for r in requirements()}
    assert {"trl", "torch", "crowd-kit"} <= names


def test_every_extra_that_users_need_is_looked_for() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(machine.EXTRAS) == set(project["optional-dependencies"]) - {"dev", "docs", "notebooks"}


def test_versions_are_missing_untested_or_fine(installed: Callable[..., None]) -> None:
    tested = constrained_versions()["rich"]
    installed(trl=None, numpy="1.0", rich="999.0", fastapi=None)
    found = by_subject()
    assert (found["trl"].state, found["trl"].found) == ("missing", "not installed")
    assert found["numpy"].state == "missing" and "but 1.0 is here" in found["numpy"].remedy
    assert found["rich"].state == "note" and f"Tested with {tested}" in found["rich"].remedy
    assert found["extra `annotate`"].state == "note" and "fastapi" in found["extra `annotate`"].found
    assert 'pip install "duelist[annotate]"' in found["extra `annotate`"].remedy
    assert not is_usable(list(found.values()))


def test_a_disk_that_is_full_or_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine._disk("disk", tmp_path / "not" / "made" / "yet").state == "ok"
    monkeypatch.setattr(machine, "FREE", 2**60)
    assert machine._disk("disk", tmp_path).state == "note"
    monkeypatch.setattr(machine.os, "access", lambda *_: False)
    assert machine._disk("disk", tmp_path).state == "missing"


def test_the_hub_is_asked_unless_it_is_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    for answers, state in ((True, "ok"), (False, "note")):
        monkeypatch.setattr(machine, "hub_answers", lambda answers=answers: answers)
        assert machine._network().state == state
