"""Vectors of a study that stored none: the hidden states of its base model, computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duelist.audit.features import response_vectors
from duelist.models.policy.policy import Policy
from duelist.progress import Silent
from duelist.recipe.reading import parse_recipe
from duelist.recipe.recipe import recipe_content
from duelist.types import Prompt, Response


def test_hidden_states_are_computed_once(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = recipe_content(parse_recipe(tiny_recipe))
    prompt = Prompt.of("w1")
    responses = [Response.of(prompt, f"w{i}", [4, 7, 5], [7 + i, 8, 2], 1) for i in range(3)]
    arguments = (tmp_path, content, {prompt.id: prompt}, responses, None, Silent())
    first, words = response_vectors(*arguments)
    assert words == "the base model's hidden states"
    assert first.shape == (3, 32) and len(np.unique(first.round(5), axis=0)) == 3

    def load(*_: Any) -> Any:
        raise AssertionError("the vectors are stored")

    monkeypatch.setattr(Policy, "load", load)
    again, words = response_vectors(*arguments)
    assert (again == first).all() and words == "the base model's hidden states"  # the same audit.json
