"""A study of seven pairs, made once and copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from exchange_world import pairs, study_of

from duelist import Study


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exchange") / "study"
    with study_of(folder, pairs(7)):
        return folder


@pytest.fixture
def study(template: Path, tmp_path: Path) -> Iterator[Study]:
    """An open study whose first round asked seven pairs."""
    shutil.copytree(template, tmp_path / "study")
    with Study.open(tmp_path / "study") as opened:
        yield opened
