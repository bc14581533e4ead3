"""`duelist run` on a study that people answer."""

from __future__ import annotations

from typing import Any

import pytest
from cli_results import Command, WriteRecipe

from duelist.errors import RecipeError


def test_run_serves_people_where_it_is_told_to(
    duelist: Command, write_recipe: WriteRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def serve(study: Any, *arguments: Any, **options: Any) -> None:
        asked.append((study.recipe.name, *arguments, options))
        raise RecipeError("enough")

    monkeypatch.setattr("duelist.cli.run.serve", serve)
    recipe = write_recipe(annotator={"name": "people"})
    done = duelist("run", recipe, "--host", "::1", "--port", "0", "--open", "--store", "sqlite:///s.db")
    assert "enough" in done.error
    assert asked == [("tiny", "sqlite:///s.db", True, False, {"host": "::1", "port": 0})]


@pytest.mark.parametrize("option", [("--port", "0"), ("--host", "::1"), ("--open",)], ids=str)
def test_a_study_that_labels_by_itself_has_no_address(
    duelist: Command, write_recipe: WriteRecipe, option: tuple[str, ...]
) -> None:
    refused = duelist("run", write_recipe(), *option)
    assert "annotator=people" in refused.error
