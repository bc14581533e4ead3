"""The command, run in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_results import Command, Result, WriteRecipe

from duelist.cli.app import main


@pytest.fixture
def duelist(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Command]:
    """Runs the command in this process, in an empty folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def run(*words: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["duelist", *map(str, words)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return Result(code, printed.out, printed.err)

    import transformers

    verbosity = transformers.logging.get_verbosity()
    yield run
    transformers.logging.set_verbosity(verbosity)


@pytest.fixture
def write_recipe(tmp_path: Path, tiny_recipe: dict[str, Any]) -> WriteRecipe:
    """Writes the tiny recipe with some keys changed (a dotted key reaches inside), and returns its file."""

    def write(**changes: Any) -> Path:
        content = json.loads(json.dumps(tiny_recipe))
        for key, value in changes.items():
            *parents, last = key.split("__")
            target = content
            for parent in parents:
                target = target.setdefault(parent, {})
            target[last] = value
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write
