"""A study on storage that two machines share: killed with -9 on one, it goes on on the other, and nothing is lost."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from duelist.store.lease import LEASE, OWNER, read_owner
from killing import in_process, moments_of, run_study, shown_log
from outcomes import lines, require_equal, smaller

PREPARATION = """
import shutil

def copy(folder, source):
    shutil.copy(source, folder / "prompts.jsonl")
"""


def run_on(home: Path, folder: Path, recipe: dict[str, Any], last: str | None) -> None:
    """Run or resume a study as a machine does that is named after its home and sees no other machine's file locks.

    Die at the moment called `last`. If the study is refused, leave the error's message at home, and exit with code 2.
    """
    from duelist.errors import StudyLockedError
    from duelist.files.locks import held
    from duelist.store import lease, opening

    home.mkdir(exist_ok=True)
    os.environ["HOME"], name = str(home), home.name
    os.environ.pop("XDG_CACHE_HOME", None)
    platform.node = lambda: name
    lease.machine = lambda: name
    opening.held = lambda path, what, in_use: held(home / "lock", what, in_use)  # type: ignore[assignment]
    try:
        run_study(folder, recipe, last)
    except StudyLockedError as error:
        (home / "refused").write_text(str(error), encoding="utf-8")
        sys.exit(2)


@pytest.mark.full
def test_a_study_killed_on_one_machine_goes_on_on_another_and_loses_nothing(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    preparation = tmp_path / "preparation.py"
    preparation.write_text(PREPARATION, encoding="utf-8")
    recipe = smaller(tiny_recipe)
    recipe["prepare"] = {"function": f"{preparation}:copy", "settings": {"source": recipe["prompts"]["path"]}}
    recipe["prompts"] = {**recipe["prompts"], "path": "{prepared}/prompts.jsonl"}
    undisturbed, shared = tmp_path / "undisturbed", tmp_path / "shared"
    assert in_process(run_on, tmp_path / "alone", undisturbed, recipe, None) == 0
    moment = next(name for name in moments_of(undisturbed, "inside") if name.startswith("2-train/"))

    assert in_process(run_on, tmp_path / "a", shared, recipe, moment) == -signal.SIGKILL
    owner, answers = read_owner(shared), lines(shown_log(shared))
    assert owner is not None and owner["host"] == "a" and len(answers) == 2 * recipe["budget"]
    shutil.rmtree(shared.with_suffix(".cache"))  # what the first machine had prepared stays on it

    # Machine b sees a lease that was renewed a moment ago: it is told who holds the study and since when.
    assert in_process(run_on, tmp_path / "b", shared, recipe, None) == 2
    refusal = (tmp_path / "b" / "refused").read_text(encoding="utf-8")
    assert f"{owner['user']}@a (process {owner['process']}, since {owner['since']}) works on {shared}" in refusal
    assert "run the same command again in" in refusal
    assert read_owner(shared) == owner

    silent = (shared / OWNER).stat().st_mtime - LEASE - 1  # as if that time had passed without a sign of life
    os.utime(shared / OWNER, (silent, silent))
    assert in_process(run_on, tmp_path / "b", shared, recipe, None) == 0
    require_equal(shared, undisturbed)
    assert lines(shown_log(shared)) == answers  # nobody was asked again
    assert read_owner(shared) is None and not list(shared.rglob(".tmp-*"))
