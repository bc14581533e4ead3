"""New answers as rows that `duelist tell` reads, for a study that people answer at the page at the same time."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from duelist.exchange.reading import Problem, Sifted
from duelist.store.decisions import question_of
from duelist.store.export import act_row
from duelist.types import Answer, Label, Retraction


def told_rows(sifted: Sifted, asked: Collection[str]) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Return the rows of the new answers, and a problem for those that the page's ledger cannot hold.

    Args:
        sifted: the checked answers.
        asked: ids of the questions that people are asked: none that was known before round 1.
    """
    rows: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for where, act in sifted.new:
        if question_of(act) not in asked:
            problems.append(
                Problem(
                    where,
                    f"The page takes answers to what it asks, but pair {question_of(act)} was known before round 1: "
                    "drop the row.",
                )
            )
        elif isinstance(act, Retraction):
            problems.append(Problem(where, "People take answers back at the page alone: drop the row."))
        elif isinstance(act, Label) and (act.votes or act.judgement or act.adjudicates or act.advisory):
            problems.append(
                Problem(
                    where,
                    "A study that people answer at the page takes single votes, but this row has vote counts, a "
                    "judge's opinions or an adjudication: drop it, or give the votes one by one.",
                )
            )
        elif isinstance(act, Answer) and (act.replaces is not None or act.adjudicates):
            problems.append(Problem(where, "Answers are replaced or adjudicated at the page alone: drop the row."))
        else:
            rows.append(_row(act))
    return rows, problems


def _row(act: Label | Answer) -> dict[str, Any]:
    question = {"pair_id" if isinstance(act, Label) else "question_id": question_of(act)}
    return question | {name: value for name, value in act_row(act).items() if value not in (None, [])}
