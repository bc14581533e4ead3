"""Where a study stands, read from its folder while another process may work on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from duelist.annotators.reading_time import study_reading_time
from duelist.recipe.values import name_of
from duelist.report.record import Arm, read_arms


def status(folder: Path) -> dict[str, Any]:
    """Where the study in a folder stands, as plain data for JSON.

    Returns:
        `name`; `rounds_closed` of `rounds`; `round`, the one in progress (0 while the initial model is measured, None
        when all are closed); `stages`, those finished in that round; `pending`, None or the batch of that round as
        `round`, `asked` and `answered` in pairs; `stopped`, why the stopping rule ends the study before its last round,
        or None; `labels`, those that count; `metrics`, the line of the last round that was evaluated, or None;
        `reading_time`, None or the model fitted to people's times (`constant` in seconds, `seconds_per_token`, `times`
        it was fitted to); `seconds` of all finished stages; `damage`, only where there is some: what was lost, deleted
        or changed in the folder, a sentence each; `compare`, the same for each study beside this one.

    Raises:
        StorageError: if there is no study in the folder.
    """
    main, *others = read_arms(folder)
    return {**_status(main), "compare": {arm.label: _status(arm) for arm in others}}


def _status(arm: Arm) -> dict[str, Any]:
    current = len(arm.metrics)
    in_progress = None if arm.finished else current
    asked = {x.pair.id for x in arm.asked if x.round == in_progress}
    answered = asked & {label.pair_id for label in arm.labels}
    reading = study_reading_time([x.pair for x in arm.asked], arm.labels)
    return {
        "name": name_of(arm.recipe),
        "rounds": arm.rounds,
        "rounds_closed": arm.rounds_closed,
        "round": in_progress,
        "stages": [s.name for s in arm.stages if s.round == in_progress],
        "pending": {"round": in_progress, "asked": len(asked), "answered": len(answered)} if asked else None,
        "stopped": arm.end.reason,
        "labels": len(arm.labels),
        "reading_time": {
            "constant": round(reading.constant, 3),
            "seconds_per_token": round(reading.rate, 5),
            "times": reading.times,
        }
        if reading.times
        else None,
        "metrics": dict(arm.measured[-1]) if arm.metrics else None,
        "seconds": round(sum(s.seconds for s in arm.stages), 3),
        **({"damage": list(arm.damage)} if arm.damage else {}),
    }
