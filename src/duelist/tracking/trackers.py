"""The trackers that a study can report to: accelerate's own classes, opened so that a study resumes into its run.

accelerate offers more, but only of these is it known what a run already has, so that no point is reported twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator

from duelist.errors import RecipeError

PROJECT = "duelist"
TENSORBOARD = "tensorboard"  # in the study's folder; TENSORBOARD_LOGGING_DIR puts it elsewhere
TrackerName = Literal["trackio", "tensorboard", "wandb", "mlflow"]


def _listed(value: Any) -> Any:
    """Return one name as a list of one, and `none` as no name."""
    if isinstance(value, str):
        return [] if value == "none" else [value]
    return value


ReportTo = Annotated[list[TrackerName], BeforeValidator(_listed)]


@dataclass(frozen=True)
class OpenRun:
    """An open run of a tracker.

    Attributes:
        tracker: accelerate's tracker.
        last_step: the greatest step that the run has from earlier; None for a new run.
    """

    tracker: Any
    last_step: int | None


def require_trackers(names: list[TrackerName]) -> None:
    """Raise an error for a tracker whose package is not installed.

    Raises:
        RecipeError: if there is one; the message names it.
    """
    for name in names:
        if find_spec(name) is None:
            installed = [x for x in get_args(TrackerName) if find_spec(x) is not None]
            raise RecipeError(
                f"`report_to` must name trackers that are installed, but {name} is not: `pip install {name}`, or "
                f"remove it. Installed: {', '.join(installed) or 'none'}."
            )


def open_run(name: TrackerName, run: str, folder: Path, config: Mapping[str, Any]) -> OpenRun:
    """Open a study's run, or create it with its configuration.

    Args:
        name: the tracker.
        run: the run's name, which is the same whenever the study resumes.
        folder: the study's folder.
        config: the run's configuration, flat.
    """
    from accelerate import PartialState

    if not PartialState._shared_state:
        PartialState(cpu=True)  # accelerate's trackers need it; a trainer makes its own anew
    with redirect_stdout(StringIO()):  # trackio prints every time, and standard output may be JSON
        opened = OPENERS[name](run, folder)
        if opened.last_step is None or name == "trackio":  # which forgets the configuration of a resumed run
            opened.tracker.store_init_configuration(dict(config))
    return opened


def _trackio(run: str, folder: Path) -> OpenRun:
    from accelerate.tracking import TrackioTracker

    # Only what the study reports: no load of the machine, no dashboard inside a notebook.
    tracker = TrackioTracker(PROJECT, name=run, resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False)
    tracker.start()
    return OpenRun(tracker, tracker.run._initial_last_step)


def _tensorboard(run: str, folder: Path) -> OpenRun:
    from accelerate.tracking import TensorBoardTracker
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    place = Path(os.environ.get("TENSORBOARD_LOGGING_DIR") or folder / TENSORBOARD)
    steps = []
    if (place / run).is_dir():
        events = EventAccumulator(str(place / run), size_guidance={"scalars": 0})
        events.Reload()
        steps = [event.step for event in events.Scalars("round")] if "round" in events.Tags()["scalars"] else []
    tracker = TensorBoardTracker(run, place)
    tracker.start()
    return OpenRun(tracker, max(steps, default=None))


def _wandb(run: str, folder: Path) -> OpenRun:
    from accelerate.tracking import WandBTracker

    tracker = WandBTracker(os.environ.get("WANDB_PROJECT") or PROJECT, id=run, name=run, resume="allow")
    tracker.start()
    return OpenRun(tracker, tracker.run.step - 1 if tracker.run.resumed else None)  # `step` is the next one


def _mlflow(run: str, folder: Path) -> OpenRun:
    import mlflow
    from accelerate.tracking import MLflowTracker

    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
    found = mlflow.search_runs(
        experiment_names=[experiment], filter_string=f"tags.mlflow.runName = '{run}'", output_format="list"
    )
    run_id = found[0].info.run_id if found else None
    steps = [x.step for x in mlflow.MlflowClient().get_metric_history(run_id, "round")] if run_id else []
    tracker = MLflowTracker(experiment, run_id=run_id, run_name=run)
    tracker.start()
    return OpenRun(tracker, max(steps, default=None))


OPENERS: dict[TrackerName, Callable[[str, Path], OpenRun]] = {
    "trackio": _trackio,
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}
