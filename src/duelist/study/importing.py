"""Import of answers into a study: labels of asked questions, and preferences known before round 1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duelist.errors import DataError
from duelist.exchange.formats import READERS, Source, answers_of, format_of, read_source
from duelist.exchange.reading import Problem, Row, Sifted, sift
from duelist.exchange.trl import sorted_out
from duelist.store.decisions import question_of
from duelist.store.store import Store
from duelist.study.stages import Stages


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        labels: answers recorded now.
        known: preferences recorded now as known before round 1.
        repeated: rows that had been recorded before.
        problems: rows left out, each with the reason and the remedy.
    """

    labels: int
    known: int
    repeated: int
    problems: tuple[Problem, ...]


def source_of(given: Any, format: str | None = None) -> Source:
    """Return the items of a path, a `datasets.Dataset`, or a sequence of rows.

    Raises:
        DataError: if the path cannot be read, or the format of the items is not known.
    """
    if isinstance(given, str | Path):
        return read_source(Path(given).expanduser(), format)
    if not isinstance(given, Iterable):
        raise DataError(f"Answers are imported from a path, a Dataset or rows, but got {type(given).__name__}.")
    rows = [(f"row {i}", dict(row) if isinstance(row, Mapping) else row) for i, row in enumerate(given, start=1)]
    found = format or (format_of(rows[0][1]) if rows else None)
    if found is None or found not in READERS:
        raise DataError(
            f"The rows must be in one of the formats {', '.join(READERS)}, but are "
            f"{str(rows[0][1])[:80] if rows else 'none'}: give `format`, or rows with `prompt`, `chosen`, `rejected`."
        )
    return Source(found, iter(rows))


def checked(store: Store, source: Source) -> tuple[Sifted, list[tuple[str, Mapping[str, Any]]]]:
    """Return the answers to asked questions, checked row by row, and preferences on other responses."""
    questions = {x.question.id: x.question for x in store.asked()}
    others: list[tuple[str, Mapping[str, Any]]] = []
    rows: Iterable[Row]
    if source.format == "trl":
        rows, others = sorted_out(source.items, questions)
    else:
        rows = answers_of(source, questions)
    return _without_taken(sift(rows, store.acts(), questions), _taken(store)), others


def _taken(store: Store) -> set[str]:
    """Return the pairs that a cascade's judge took: its labels count, and people are not asked."""
    rounds = {stage.round for stage in store.stages() if stage.name == "prelabel"}
    pairs = {x.question.id for x in store.asked() if x.round in rounds}
    return {x.pair_id for x in store.current_labels() if x.judgement is not None and x.pair_id in pairs}


def _without_taken(sifted: Sifted, taken: set[str]) -> Sifted:
    """Return the rows with those of people on pairs that the judge took as problems, for one source labels a pair."""
    late = [(where, act) for where, act in sifted.new if question_of(act) in taken]
    problems = [
        Problem(
            where,
            f"People answer what the judge does not, but pair {question_of(act)} has the judge's label, which counts: "
            "drop the row.",
        )
        for where, act in late
    ]
    new = [x for x in sifted.new if question_of(x[1]) not in taken]
    return Sifted(new, sifted.repeated, [*sifted.problems, *problems])


def import_into(stages: Stages, source: Source) -> ImportReport:
    """Record the answers of a source, and preferences on other responses as known while round 1 has not begun."""
    sifted, others = checked(stages.store, source)
    new = stages.store.add_answers([act for _, act in sifted.new])
    known, repeated, problems = 0, sifted.repeated, list(sifted.problems)
    if others and stages.folder.stage(1, "pair") is None:
        stages.measure_initial_model()
        known, again, wrong = stages.known.add(others)
        repeated, problems = repeated + again, [*problems, *wrong]
    else:
        problems += unknown_pairs(others)
    return ImportReport(new, known, repeated, tuple(problems))


def unknown_pairs(others: Iterable[tuple[str, Any]]) -> list[Problem]:
    """Return the problem of preferences on responses that were not asked about, once a round has begun."""
    return [
        Problem(
            where,
            "Its two responses are no pair that this study asked about, and round 1 has begun: name the file under "
            "`known` in a new study's recipe, or drop the row.",
        )
        for where, _ in others
    ]
