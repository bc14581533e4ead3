"""What a study's settings of people mean for the page and the dashboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from duelist.annotators.people import PeopleConfig
from duelist.errors import DataError
from duelist.people.agreement import FEWEST_RESAMPLES, krippendorff_alpha
from duelist.people.intervals import Estimate
from duelist.types import Label
from duelist.web.dashboard import Statistics
from duelist.web.page_settings import PageSettings
from duelist.web.record import Act
from duelist.web.served_study import ServedStudy
from duelist.web.study_items import answer_of


def page_settings(config: PeopleConfig) -> PageSettings:
    """Return the settings of the page.

    Raises:
        DataError: if the guidelines cannot be read.
        RecipeError: if two actions share a key.
    """
    guidelines = ""
    if config.guidelines is not None:
        path = Path(config.guidelines).expanduser()
        try:
            guidelines = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"Guidelines must be a readable Markdown file, but {path} is not: {error}.") from error
    return PageSettings(
        keys={str(action): keys for action, keys in config.keys.items()},
        strength=config.strength,
        reasons=config.reasons,
        comment=config.comment,
        write_better=config.write_better,
        guidelines=guidelines,
        hourly_wage=config.hourly_wage,
        currency=config.currency,
    )


def statistics_of(served: ServedStudy) -> Statistics:
    """Return the statistics of agreement for the dashboard, computed anew when there are other answers."""
    latest: tuple[tuple[str, ...] | None, Mapping[str, Any]] = (None, {})

    def statistics(acts: Sequence[Act]) -> Mapping[str, Any]:
        nonlocal latest
        ids = tuple(a.id for a in acts)
        if latest[0] != ids:
            questions = {x.question.id: x.question for x in served.study.store.asked()}
            answers = [answer_of(a, questions[a.question_id]) for a in acts if a.question_id in questions]
            labels = [x for x in answers if isinstance(x, Label)]
            latest = (ids, {"Krippendorff's α": _value(krippendorff_alpha(labels, resamples=FEWEST_RESAMPLES))})
        return latest[1]

    return statistics


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value
