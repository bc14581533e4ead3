"""A study's folder: one writer, whole artifacts, clear errors, and no harm done by a full disk."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import small_study
from duelist import Study, parse_recipe
from duelist.errors import DuelistError, RecipeError, StorageError, StudyLockedError
from duelist.files import atomic
from duelist.store import artifacts, codecs
from duelist.store.export import label_rows
from duelist.store.folder import StudyFolder
from duelist.store.opening import create_folder, open_folder
from duelist.store.store import Store
from killing import PROCESSES, hold_open, in_process, run_until_full
from outcomes import outcome, require_equal, smaller

RECIPE: dict[str, Any] = {"name": "example", "budget": 6, "trainer": {"name": "dpo", "train": {"learning_rate": 1e-05}}}
NUMBERS: codecs.Codec[list[int]] = codecs.Codec(
    "numbers.json",
    artifacts.write_json,
    lambda path: [int(n) for n in json.loads(path.read_text(encoding="utf-8"))],
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[StudyFolder]:
    folder = create_folder(tmp_path / "study", RECIPE)
    yield folder
    folder.close()


def test_a_finished_stage_is_not_computed_again(folder: StudyFolder) -> None:
    computed = []

    def compute() -> list[int]:
        computed.append(1)
        return [len(computed)]

    assert [folder.run(1, "sample", NUMBERS, compute) for _ in range(3)] == [[1], [1], [1]]
    assert folder.run(2, "sample", NUMBERS, compute) == [2]


@pytest.mark.parametrize("change", ["other content", "gone"])
def test_an_artifact_that_was_changed_is_refused(folder: StudyFolder, change: str) -> None:
    folder.run(1, "sample", NUMBERS, lambda: [1, 2])
    path = folder.round_folder(1) / NUMBERS.file
    path.unlink() if change == "gone" else path.write_text("[1, 3]", encoding="utf-8")
    with pytest.raises(StorageError, match=r"stage 'sample' of round 1 must be what the stage wrote.*restore it"):
        folder.run(1, "sample", NUMBERS, lambda: [1, 2])
    with pytest.raises(StorageError, match="Stage 'pair' of round 1 must be finished"):
        folder.read(1, "pair", NUMBERS)


def test_an_error_in_a_stage_leaves_nothing_of_it(folder: StudyFolder) -> None:
    def fail() -> list[int]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        folder.run(1, "sample", NUMBERS, fail)
    assert folder.stage(1, "sample") is None
    assert not folder.round_folder(1).exists()
    assert folder.run(1, "sample", NUMBERS, lambda: [1]) == [1]


def test_the_same_recipe_opens_the_study_again_and_another_is_refused_by_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_folder(tmp_path / "study", RECIPE).close()
    monkeypatch.setattr(Store, "asked", lambda store: [small_study.pairs_of(1)[0]])
    again = create_folder(tmp_path / "study", RECIPE)
    assert again.recipe == RECIPE
    again.close()
    for key, value in {"budget": 7, "trainer": {"name": "dpo", "train": {}}, "added": 1}.items():
        with pytest.raises(RecipeError, match=rf"with other values of {key} \(`{key}` was .*give a new --study"):
            create_folder(tmp_path / "study", {**RECIPE, key: value})
    open_folder(tmp_path / "study").close()  # a refusal leaves no lock


def test_a_folder_with_other_things_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StorageError, match=r"needs a new or empty folder, but .* holds thesis.tex .*another folder"):
        create_folder(tmp_path, RECIPE)
    with pytest.raises(StorageError, match=r"must hold a recipe.yaml, but .* has none: correct the path"):
        open_folder(tmp_path)
    with pytest.raises(StorageError, match=r"must be writable, but .*give another folder"):
        create_folder(tmp_path / "thesis.tex", RECIPE)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_new_study_is_its_owner_s_alone_and_an_existing_folder_keeps_its_mode(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        create_folder(tmp_path / "parent" / "new", RECIPE).close()
        (tmp_path / "shared").mkdir(mode=0o755)
        create_folder(tmp_path / "shared", RECIPE).close()
        open_folder(tmp_path / "shared").close()
    finally:
        os.umask(mask)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("parent", "parent/new", "shared")]
    assert modes == [0o755, 0o700, 0o755]


def test_opening_cleans_up_after_a_killed_writer_but_not_in_other_studies(tmp_path: Path) -> None:
    create_folder(tmp_path, RECIPE).close()
    own = [tmp_path / ".tmp-metrics.jsonl", tmp_path / "rounds" / "001" / ".tmp-responses.jsonl"]
    others = tmp_path / "compare" / "random" / "rounds" / "001" / ".tmp-responses.jsonl"
    for path in (*own, others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    open_folder(tmp_path).close()
    assert [path.exists() for path in (*own, others)] == [False, False, True]


def test_one_process_at_a_time_while_others_read_and_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    create_folder(tmp_path, RECIPE).close()
    here, there = PROCESSES.Pipe()
    process = PROCESSES.Process(target=hold_open, args=(tmp_path, there))
    process.start()
    assert here.recv() == "open"
    for opening in (open_folder, lambda path: create_folder(path, RECIPE)):
        with pytest.raises(StudyLockedError, match=r"works on.*wait for it or stop it") as caught:
            opening(tmp_path)
        assert isinstance(caught.value, (DuelistError, OSError))
    reader = Store(tmp_path, migrate=False)
    assert reader.asked() == []
    assert list(label_rows(reader)) == []
    reader.close()
    process.kill()
    process.join()
    open_folder(tmp_path).close()


def test_the_same_process_cannot_open_a_study_twice(folder: StudyFolder) -> None:
    with pytest.raises(StudyLockedError, match="works on"):
        open_folder(folder.path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the undisturbed study is, once it was run."""
    return tmp_path_factory.mktemp("undisturbed") / "study"


@pytest.fixture
def recipe(tiny_recipe: dict[str, Any], undisturbed: Path) -> dict[str, Any]:
    recipe = smaller(tiny_recipe)
    if not undisturbed.exists():
        assert in_process(run_until_full, undisturbed, recipe, undisturbed.with_suffix(".message")) == 0
    return recipe


@pytest.mark.full
def test_a_disk_that_is_full_at_every_file_costs_nothing_but_time(
    recipe: dict[str, Any], undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt to write each file fails, now in Python's words, now in those of safetensors."""
    from peft import peft_model
    from safetensors import SafetensorError

    from duelist.recipe.reading import parse_recipe
    from duelist.study.study import Study

    path = tmp_path / "study"
    failed: set[str] = set()
    sync, save = atomic._sync, peft_model.safe_save_file

    def full_at_first_sync(file: Path) -> None:
        if file.name.startswith(atomic.TEMPORARY) and str(file) not in failed:
            failed.add(str(file))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    def full_at_first_save(weights: Any, file: str, **arguments: Any) -> None:
        if file not in failed:
            failed.add(file)
            Path(file).write_bytes(b"half")
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        save(weights, file, **arguments)

    monkeypatch.setattr(atomic, "_sync", full_at_first_sync)
    monkeypatch.setattr(peft_model, "safe_save_file", full_at_first_save)
    errors: list[StorageError] = []
    with pytest.raises(StorageError, match=r"recipe.yaml"):
        Study.create(path, parse_recipe(recipe))
    with Study.create(path, parse_recipe(recipe)) as study:
        while study.rounds_left or not (path / "metrics.jsonl").exists():
            try:
                study.run()
            except StorageError as error:
                errors.append(error)
                assert not list(path.rglob(f"{atomic.TEMPORARY}*"))
    for error in errors:
        assert error.errno == errno.ENOSPC
        assert "Disk space is required for" in str(error)
        assert "free some space, then run the same command again" in str(error)
    # Two rounds of six artifacts, the initial model's two, the three derived files; adapters fail at their weights too.
    assert len(errors) == len(failed) - 1 == 2 * 6 + 2 + 3 + 3
    require_equal(path, undisturbed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.full
def test_a_disk_that_is_really_full(
    recipe: dict[str, Any], undisturbed: Path, small_disk: Path, tmp_path: Path
) -> None:
    message, kilobytes, full = tmp_path / "message", 16, 0
    while code := in_process(run_until_full, small_disk / "study", recipe, message):
        assert code == 2, f"{kilobytes} KB"
        text = message.read_text(encoding="utf-8").lower()
        assert "space" in text and ("run the same command again" in text), text
        full += 1
        kilobytes = kilobytes * 5 // 4
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(small_disk)], check=True)
    assert full > 5
    require_equal(small_disk / "study", undisturbed)
    assert outcome(undisturbed)["metrics"][-1]["labels"] == 8


def test_a_study_that_asked_nothing_begins_anew_with_another_recipe(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    """A pool of equal responses can be too small for the budget; a smaller budget must then do."""
    from duelist.errors import BudgetError

    few = {"responses_per_prompt": 2, "max_new_tokens": 1, "top_p": 0.1}  # of about four tokens
    narrow = {**tiny_recipe, "sampler": {"name": "vanilla", **few}}
    with Study.create(tmp_path / "study", parse_recipe({**narrow, "budget": 24})) as study:
        with pytest.raises(BudgetError, match="equal responses make no question"):
            study.ask()
        assert study.store.asked() == []
    with Study.create(tmp_path / "study", parse_recipe({**narrow, "budget": 3})) as study:
        assert len(study.ask().pairs) == 3
    with pytest.raises(RecipeError, match="has asked 3 pairs"):
        Study.create(tmp_path / "study", parse_recipe({**narrow, "budget": 4}))
