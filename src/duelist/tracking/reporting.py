"""Reporting of a study's closed rounds to its trackers. What fails there is said, and costs the study nothing."""

from __future__ import annotations

import json
import re
import secrets
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from duelist.progress import Progress, Silent
from duelist.store.artifacts import write_json
from duelist.store.store import Store
from duelist.tracking.points import flat_recipe, points_of
from duelist.tracking.trackers import TrackerName, open_run, require_trackers

RUN = "tracking.json"  # in the study's folder: the run's name


class Reporting:
    """One run over all rounds of a study, in each of its trackers.

    A run is asked for its last step, and gets the rounds beyond it. So a study that was killed resumes into the same
    run, no point comes twice, and rounds closed while a tracker could not be reached are reported later. A round that
    got no label has the step of the one before; it is left out if the study was killed right before it was reported.

    Args:
        names: the trackers.
        recipe: the study's recipe, as plain data.
        folder: the study's folder.
        store: the record.
        progress: told what fails.
    """

    def __init__(
        self, names: list[TrackerName], recipe: Mapping[str, Any], folder: Path, store: Store, progress: Progress
    ) -> None:
        self.names = names
        self.recipe = recipe
        self.folder = folder
        self.store = store
        self.progress = progress
        self._reported: dict[TrackerName, int] = {}  # number of closed rounds that the run has

    def require_installed(self) -> None:
        """Raise an error for a tracker that is not installed, before anything is asked.

        Raises:
            RecipeError: if there is one; the message names it.
        """
        require_trackers(self.names)

    def report(self) -> None:
        """Report the closed rounds that a run has not. A tracker's failure is a warning."""
        if not self.names:
            return
        closed = len(self.store.metrics())
        for name in self.names:
            if self._reported.get(name, 0) == closed:
                continue
            try:
                self._report(name, closed)
            except Exception as error:  # a tracker's errors are of any type, and it must not end the study
                self._warn(
                    f"The tracker {name} must take the study's numbers, but failed ({type(error).__name__}: {error}). "
                    "Nothing is lost: the rounds it lacks are reported after the next one."
                )

    def _report(self, name: TrackerName, closed: int) -> None:
        points = points_of(self.store)[:closed]
        opened = open_run(name, self._run(), self.folder, flat_recipe(self.recipe))
        try:
            done = self._reported.get(name)
            if done is None:
                last = -1 if opened.last_step is None else opened.last_step
                done = sum(point.step <= last for point in points)
            for point in points[done:]:
                opened.tracker.log(dict(point.values), step=point.step)
        finally:
            with redirect_stdout(StringIO()):
                opened.tracker.finish()  # sends everything: what is left here would be lost by a kill
        self._reported[name] = closed

    def _run(self) -> str:
        """Return the name of the study's run, made once: the recipe's name, and digits that no other study has."""
        path = self.folder / RUN
        if not path.is_file():
            name = re.sub(r"[^a-z0-9]+", "-", str(self.recipe["name"]).lower()).strip("-")[:80] or "study"
            write_json(path, {"run": f"{name}-{secrets.token_hex(3)}"})
        return str(json.loads(path.read_text("utf-8"))["run"])

    def _warn(self, text: str) -> None:
        if isinstance(self.progress, Silent):
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        else:
            self.progress.note(text)
