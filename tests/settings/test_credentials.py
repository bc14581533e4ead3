"""Keys to services: `${NAME}` in a recipe, never the key itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from duelist import Study, parse_recipe
from duelist.errors import RecipeError
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.loading import base_arguments
from duelist.preflight.examination import examine
from duelist.progress import Silent
from duelist.recipe.reading import saved_recipe
from duelist.recipe.recipe import recipe_content
from duelist.settings.credentials import require_no_credentials, with_credentials
from duelist.study.components import StudyComponents, prepared

KEY = "sk-proj-4f8Jq0aa11bb22cc33"


@pytest.mark.parametrize(
    "key",
    [
        "hf_" + "aB3" * 11,
        "hf_abcdefghijklmnopqrstuvwxyz",
        "sk-ant-api03-abc",
        "sk-0123456789abcdef",
        "ghp_" + "x1" * 18,
        "github_pat_11AA22bb33",
        "xoxb-1234567890",
        "gsk_abcd1234efgh",
        "AKIAABCDEFGHIJKLMNOP",
        "AIzaSyA1234567890",
    ],
)
@pytest.mark.parametrize("before", ["", "Bearer ", "https://me:"])
def test_a_key_is_refused_wherever_it_stands(key: str, before: str, tiny_recipe: dict[str, Any]) -> None:
    key = before + key
    for place in (
        {"description": f"uses {key}"} if len(key) > 20 else {"policy": {"model": "m", "load": {"token": key}}},
        {"annotator": {**tiny_recipe["annotator"], "arguments": {"deep": [{"value": key}]}}},
        {"compare": {"x": {"annotator": {**tiny_recipe["annotator"], "arguments": {"api_key": key}}}}},
    ):
        if key.endswith("api03-abc") and before:
            continue  # too short to be known as a key within longer text
        with pytest.raises(RecipeError, match=r"must not hold a key to a service, but `.*\$\{NAME\}") as caught:
            parse_recipe(tiny_recipe | place)
        assert key not in str(caught.value)


@pytest.mark.parametrize("key", ["token", "api_key", "password", "Authorization"])
def test_a_short_key_is_refused_where_a_key_is_expected(key: str) -> None:
    with pytest.raises(RecipeError, match=f"`annotator.{key}`"):
        require_no_credentials({"annotator": {key: "hf_secret"}})


@pytest.mark.parametrize(
    "word",
    ["hf_models/llama-3", "hf_reward2.py:score", "/data/hf_cache_2024/model", "sk-learn", "hf_preferences", "task-2024",
     "risk-12345678abc", "${HF_TOKEN}", "hf_", "AK", "desk-1234567890"],
)  # fmt: skip
def test_other_words_are_no_keys(word: str) -> None:
    require_no_credentials({"name": word, "policy": {"model": word}, "prompts": {"path": word}})


OWN = """
from pydantic import BaseModel
from duelist.annotators.base import Annotator

class Config(BaseModel):
    key: str = "${DUELIST_TEST_KEY}"
    nested: dict = {"a": ["x ${DUELIST_TEST_KEY}"]}

class Own(Annotator):
    def __init__(self, config: Config) -> None:
        self.config = config

    def annotate(self, batch, seed, progress):
        return []

def score(prompts, completions, key, **columns):
    assert key == "Bearer KEY"
    return [float(len(str(c))) for c in completions]

def make(folder, key):
    (folder / "length.txt").write_text(str(len(key)))
""".replace("KEY", KEY, 0)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own.py").write_text(OWN.replace('"Bearer KEY"', f'"Bearer {KEY}"'))
    monkeypatch.setenv("DUELIST_TEST_KEY", KEY)
    monkeypatch.setenv("DUELIST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "own.py"


def test_a_reference_is_resolved_when_a_component_is_made_and_stays_a_reference_in_the_study(
    own: Path, tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    arguments = {"key": "Bearer ${DUELIST_TEST_KEY}"}
    annotator = {"name": "reward_function", "function": f"{own}:score", "arguments": arguments}
    recipe = parse_recipe(tiny_recipe | {"annotator": annotator, "acquisition": "random", "rounds": 1})
    assert recipe_content(recipe)["annotator"]["arguments"] == arguments
    with Study.create(tmp_path / "study", recipe) as study:
        study.run()
    files = [p for p in (tmp_path / "study").rglob("*") if p.is_file()]
    assert any(b"${DUELIST_TEST_KEY}" in p.read_bytes() for p in files)
    assert not [p for p in files if KEY.encode() in p.read_bytes()]


def test_references_of_own_components_models_and_preparations(
    own: Path, tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    recipe = parse_recipe(tiny_recipe | {"annotator": {"name": f"{own}:Own"}})
    made: Any = StudyComponents(prepared(recipe, Silent())).annotator
    assert made.config.key == KEY and made.config.nested == {"a": [f"x {KEY}"]}
    assert base_arguments(PolicyConfig(model="m", load={"token": "${DUELIST_TEST_KEY}"}))["token"] == KEY
    settings = {"function": f"{own}:make", "settings": {"key": "${DUELIST_TEST_KEY}"}}
    prepared(parse_recipe(tiny_recipe | {"prepare": settings}), Silent())
    (made_file,) = (tmp_path / "cache").rglob("length.txt")
    assert made_file.read_text() == str(len(KEY))


def test_a_variable_that_is_not_set_is_named_before_anything_is_made(
    tiny_recipe: dict[str, Any], tiny_reward: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DUELIST_NO_KEY", raising=False)
    annotator = {"name": "reward_function", "function": tiny_reward, "arguments": {"key": "${DUELIST_NO_KEY}"}}
    recipe = parse_recipe(tiny_recipe | {"annotator": annotator})
    with pytest.raises(RecipeError, match=r"`\$\{DUELIST_NO_KEY\}` stands for an environment variable"):
        examine(recipe)


def test_every_kind_of_value_is_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    class Inner(BaseModel):
        text: str
        number: int = 3

    monkeypatch.setenv("DUELIST_TEST_KEY", "v")
    filled = with_credentials({"a": ["${DUELIST_TEST_KEY}-x", 1, None], "b": Inner(text="${DUELIST_TEST_KEY}")})
    assert filled == {"a": ["v-x", 1, None], "b": Inner(text="v")}


def test_a_study_that_was_begun_with_a_key_in_clear_can_still_be_opened(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    Study.create(folder, saved_recipe(tiny_recipe | {"description": KEY})).close()  # as an earlier version did
    with Study.open(folder) as study:
        assert study.recipe.description == KEY
