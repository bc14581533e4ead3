"""A study goes on with the recipe it began with, which its database keeps; recipe.yaml shows it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from alembic import command
from alembic.config import Config

import duelist.store
import duelist.store.folder as folder_module
import small_study
from duelist import Study, parse_recipe
from duelist.errors import RecipeError, RoundStateError
from duelist.report.status import status
from duelist.store.database import connect, url_of
from duelist.store.layout import DATABASE
from duelist.store.opening import create_folder, open_folder
from duelist.store.recipe_file import kept_recipe
from duelist.store.store import Store

BOMB = b"a: &a [1]\n" + b"".join(b"%c: &%c [%s]\n" % (x + 1, x + 1, b",".join([b"*%c" % x] * 9)) for x in b"abcdef")


def edit(path: Path, **changes: Any) -> None:
    file = path / "recipe.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changes}))


def test_a_recipe_changed_by_hand_is_refused_wherever_the_study_is_opened_from(tmp_path: Path) -> None:
    small_study.finished(tmp_path)
    edit(tmp_path, rounds=4)
    edited = {**small_study.RECIPE, "rounds": 4}
    said = r"recipe.yaml was changed since: `rounds` \(was 2, now 4\).*delete the file.*new --study folder"
    for opening in (
        lambda: open_folder(tmp_path),
        lambda: create_folder(tmp_path, edited),  # run from there
        lambda: create_folder(tmp_path, small_study.RECIPE),
    ):
        with pytest.raises(RecipeError, match=said):
            opening()
    state = status(tmp_path)
    assert state["rounds"] == 2 and "recipe.yaml was changed in rounds" in state["damage"][0]
    (tmp_path / "recipe.yaml").unlink()
    assert "recipe.yaml is gone" in status(tmp_path)["damage"][0]
    open_folder(tmp_path).close()
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text()) == small_study.RECIPE
    assert "damage" not in status(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"- a\n- list\n", b"rounds: [", BOMB, b"rounds: " + b"[" * 5000])
def test_a_recipe_file_that_is_none_is_refused_with_the_remedy(content: bytes, tmp_path: Path) -> None:
    small_study.finished(tmp_path)
    (tmp_path / "recipe.yaml").write_bytes(content)
    for opening in (lambda: open_folder(tmp_path), lambda: create_folder(tmp_path, small_study.RECIPE)):
        with pytest.raises(RecipeError, match=r"(?s)must be a mapping in YAML.*delete it"):
            opening()
    assert "cannot be read" in status(tmp_path)["damage"][0]
    (tmp_path / "recipe.yaml").unlink()
    create_folder(tmp_path, small_study.RECIPE).close()
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text()) == small_study.RECIPE


def test_order_comments_and_keys_with_their_defaults_make_no_other_recipe(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    with Study.create(tmp_path / "study", parse_recipe(tiny_recipe)) as study:
        own = study.folder.recipe
    file = tmp_path / "study" / "recipe.yaml"
    content = {k: v for k, v in own.items() if k not in ("initial_random", "torch_threads")}
    file.write_text("# a comment\n" + yaml.safe_dump(content, sort_keys=True, default_flow_style=True))
    with Study.open(tmp_path / "study") as study:
        assert study.folder.recipe == own
    edit(tmp_path / "study", sampler={**content["sampler"], "temperature": 0.25})
    with pytest.raises(RecipeError, match="`sampler`"):
        Study.open(tmp_path / "study")
    edit(tmp_path / "study", sampler=content["sampler"], buget=7)
    with pytest.raises(RecipeError, match="buget"):
        Study.open(tmp_path / "study")


def test_another_description_makes_no_other_recipe(tmp_path: Path) -> None:
    small_study.finished(tmp_path)
    reworded = {**small_study.RECIPE, "description": "The same, in other words."}
    create_folder(tmp_path, reworded).close()
    assert kept_recipe(tmp_path)["description"] == "The same, in other words."


def test_a_study_of_version_0003_keeps_its_recipe_from_its_first_opening_on(tmp_path: Path) -> None:
    path = tmp_path / "study"
    path.mkdir()
    (path / "recipe.yaml").write_text(yaml.safe_dump(small_study.RECIPE))
    engine = connect(url_of(path))
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(duelist.store.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
    engine.dispose()
    connection = sqlite3.connect(path / DATABASE)
    connection.execute("INSERT INTO prompts VALUES ('x', '[]', 0, '{}')")
    for name in ("r1", "r2"):
        connection.execute(f"INSERT INTO responses VALUES ('{name}', 'x', '{name}', '[1]', '[2]', 'policy', 1)")
    connection.execute("INSERT INTO pairs VALUES ('p', 'r1', 'r2', 1, 0, 0.5, 'nats', 0.0, 1.0, NULL, NULL)")
    columns = "id, pair_id, annotator, outcome, time, recorded_at"
    for i, (outcome, hour) in enumerate([("a", 12), ("b", 10)]):
        row = f"'0123456789abcde{i}', 'p', 'ann', '{outcome}', '2026-01-31T{hour}:00:00+00:00', '2026'"
        connection.execute(f"INSERT INTO labels ({columns}) VALUES ({row})")
    connection.commit()
    connection.close()

    edit(path, rounds=3)  # before the first opening nothing else knows the recipe
    folder = open_folder(path)
    assert folder.recipe == {**small_study.RECIPE, "rounds": 3} == kept_recipe(path)
    assert [x.outcome for x in folder.store.current_labels()] == ["b"]
    assert [x.id for x in folder.store.labels()] == ["0123456789abcde0", "0123456789abcde1"]
    folder.close()
    edit(path, rounds=4)
    with pytest.raises(RecipeError, match=r"`rounds` \(was 3, now 4\)"):
        open_folder(path)


def test_what_a_closed_folder_refuses(tmp_path: Path) -> None:
    small_study.finished(tmp_path)
    folder = open_folder(tmp_path)
    folder.close()
    folder.close()
    for doing in (lambda: small_study.ask(folder, 3), lambda: small_study.close(folder, 3), folder.derive):
        with pytest.raises(RoundStateError, match=r"was closed: open it again"):
            doing()
    open_folder(tmp_path).close()


def reporting_to(name: str) -> dict[str, Any]:
    """The recipe with another name for its training runs."""
    trainer = small_study.RECIPE["trainer"]
    return {**small_study.RECIPE, "trainer": {**trainer, "train": {**trainer["train"], "run_name": name}}}


@pytest.mark.parametrize("interrupted", ["write_recipe", "keep_recipe"])
def test_where_training_reports_is_taken_over_whole_after_an_interruption(
    interrupted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_study.finished(tmp_path)
    place: Any = {"write_recipe": folder_module, "keep_recipe": Store}[interrupted]

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(place, interrupted, killed)
        with pytest.raises(KeyboardInterrupt):
            create_folder(tmp_path, reporting_to("second"))
    create_folder(tmp_path, reporting_to("second")).close()
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text()) == reporting_to("second")
    folder = open_folder(tmp_path)
    assert folder.recipe == reporting_to("second") == kept_recipe(tmp_path)
    folder.close()


def test_only_the_trainer_reports_so_other_settings_of_that_name_make_another_recipe(tmp_path: Path) -> None:
    own = {**small_study.RECIPE, "annotator": {"name": "own.py:Own", "train": {"logging_bias": 0.1, "run_name": "x"}}}
    create_folder(tmp_path, own).close()
    folder = open_folder(tmp_path)
    small_study.close(folder, 0)
    small_study.ask(folder, 1)
    folder.close()
    edit(tmp_path, annotator={**own["annotator"], "train": {"logging_bias": 0.9, "run_name": "x"}})
    with pytest.raises(RecipeError, match="`annotator`"):
        open_folder(tmp_path)
