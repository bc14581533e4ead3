"""Status of a study, read from its folder while another process may run it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from duelist.annotators.reading_time import study_reading_time
from duelist.judges.summary import judges_of
from duelist.recipe.values import name_of
from duelist.report.record import Arm, read_arms
from duelist.store.decisions import question_of


def status(folder: Path) -> dict[str, Any]:
    """Return the status of the study in a folder, as plain data for JSON.

    Returns:
        A dictionary with these keys:
        `name`: name of the recipe.
        `rounds`, `rounds_closed`: number of rounds in total, and closed.
        `round`: round in progress; 0 while the initial model is measured, None when no round is left.
        `stages`: finished stages of that round.
        `pending`: batch of that round as `round`, `asked` and `answered` in questions; None without a batch.
        `stopped`: why the stopping rule ends the study before its last round; None if it does not.
        `labels`: number of labels that count.
        `judges`: what each judge did (`JudgeUse.as_json`); the key is absent without a judge.
        `cascade`: what a cascade's judge was last trusted with (`prelabel.json`), and the round; the key is absent
        without a cascade.
        `metrics`: metrics of the last evaluated round; None before any evaluation.
        `reading_time`: model fitted to annotation times of the most frequent type of question (`constant` in seconds,
        `per_comparison` in seconds, `seconds_per_token`, and `times`, the number of times it was fitted to); None
        without times.
        `seconds`: duration of all finished stages.
        `damage`: one sentence for each lost, deleted or changed part of the folder; the key is absent without damage.
        `compare`: the same dictionary for each comparison arm, by name.

    Raises:
        StorageError: if there is no study in the folder.
    """
    main, *others = read_arms(folder)
    return {**_status(main), "compare": {arm.label: _status(arm) for arm in others}}


def _status(arm: Arm) -> dict[str, Any]:
    current = len(arm.metrics)
    in_progress = None if arm.finished else current
    asked = {x.question.id for x in arm.asked if x.round == in_progress}
    answered = asked & {question_of(x) for x in arm.answers}
    times = study_reading_time([x.question for x in arm.asked], arm.answers)
    types = Counter(x.question.asks for x in arm.asked).most_common(1)
    reading = times.of(types[0][0] if types else "pair")
    return {
        "name": name_of(arm.recipe),
        "rounds": arm.rounds,
        "rounds_closed": arm.rounds_closed,
        "round": in_progress,
        "stages": [s.name for s in arm.stages if s.round == in_progress],
        "pending": {"round": in_progress, "asked": len(asked), "answered": len(answered)} if asked else None,
        "stopped": arm.end.reason,
        "labels": len(arm.answers),
        "reading_time": {
            "constant": round(reading.constant, 3),
            "per_comparison": round(reading.decision, 3),
            "seconds_per_token": round(reading.rate, 5),
            "times": reading.times,
        }
        if reading.times
        else None,
        "metrics": dict(arm.measured[-1]) if arm.metrics else None,
        "seconds": round(sum(s.seconds for s in arm.stages), 3),
        **({"judges": [use.as_json() for use in judges]} if (judges := judges_of(arm.judged)) else {}),
        **({"cascade": cascade} if (cascade := _cascade(arm)) else {}),
        **({"damage": list(arm.damage)} if arm.damage else {}),
    }


def _cascade(arm: Arm) -> dict[str, Any]:
    """Return what a cascade's judge was trusted with in the last round that it labelled; nothing without one."""
    stages = [s for s in arm.stages if s.name == "prelabel"]
    latest = max(stages, key=lambda s: s.round, default=None)
    return {} if latest is None else {"round": latest.round, **latest.info}
