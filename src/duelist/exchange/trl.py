"""Preferences in TRL's format (`prompt`, `chosen`, `rejected`): out of a study with who said it, and back in.

Rows are recognised by their texts: a row is a label if its two texts are the responses of an asked pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from duelist.data.rows import as_json, row_pair, row_prompt
from duelist.errors import DataError
from duelist.exchange.reading import Row, row_of
from duelist.labels import checked_text
from duelist.store.export import ImpliedPairs, decided_question, decision_rows, require_one_prompt, written_rows
from duelist.store.store import Store
from duelist.types import Label, Preference, Prompt, Question, VoteRule, content_id

UNNAMED = "known"  # the annotator of rows that name none
COLUMNS = ("prompt", "chosen", "rejected", "annotator", "share", "weight")
Texts = tuple[str, frozenset[str]]


def dataset_rows(
    store: Store, votes: VoteRule, ties: bool, implied: ImpliedPairs, *, one_prompt: bool = True
) -> Iterator[dict[str, Any]]:
    """Yield every preference of a study with its question, annotator, share of the votes and weight in the loss.

    Args:
        store: the record.
        votes: how several votes on a pair are used (`Store.decisions`).
        ties: also give ties, with share 0.5.
        implied: which pairs of a ranking to give.
        one_prompt: refuse pairs whose responses answer two prompts; otherwise their rows have `prompt_chosen` and
            `prompt_rejected`.

    Raises:
        DataError: if a pair's responses answer two prompts, which TRL's format cannot represent.
    """
    prompts = store.prompts()
    for decision in store.decisions(votes=votes, ties=ties):
        share, factor = (decision.share, decision.weight) if isinstance(decision, Preference) else (1.0, 1.0)
        said = {"question_id": decided_question(decision), "annotator": decision.annotator, "share": share}
        for row, weight in decision_rows(decision, prompts, implied):
            yield {**(require_one_prompt(row) if one_prompt else row), **said, "weight": weight * factor}
    for label, row in written_rows(store, prompts):
        yield {**row, "question_id": label.pair_id, "annotator": label.annotator, "share": 1.0, "weight": 1.0}


def is_own(item: Any) -> bool:
    """Return whether an object is a row of preferences in TRL's format."""
    return isinstance(item, Mapping) and {"chosen", "rejected"} <= item.keys()


def sorted_out(
    items: Iterator[tuple[str, Any]], questions: Mapping[str, Question]
) -> tuple[list[Row], list[tuple[str, Mapping[str, Any]]]]:
    """Return the rows on asked pairs, and those on other responses.

    Args:
        items: the rows with their places.
        questions: the asked questions, by id.
    """
    pairs = {_texts(q.a.prompt_id, [q.a.text, q.b.text]): q for q in questions.values() if _one_prompt(q)}
    rows: list[Row] = []
    others: list[tuple[str, Mapping[str, Any]]] = []
    for where, item in items:
        try:
            prompt, texts = preference_texts(item, where)
        except DataError as error:
            rows.append(Row(where, error))
            continue
        pair = pairs.get(_texts(prompt.id, texts))
        if pair is None:
            others.append((where, item))
        else:
            rows.append(row_of(where, lambda pair=pair, texts=texts, item=item: label_of(item, pair, texts)))  # type: ignore[misc]
    return rows, others


def preference_texts(item: Any, where: str) -> tuple[Prompt, list[str]]:
    """Return the prompt of a row, and its chosen and rejected text.

    Raises:
        DataError: if the item is no preference in TRL's format.
    """
    if isinstance(item, DataError):
        raise item
    if not is_own(item) or item["chosen"] is None or item["rejected"] is None:
        raise DataError("A preference needs `chosen` and `rejected`, but the row has not: fill them in or drop it.")
    own = {k: v for k, v in item.items() if k not in ("annotator", "share", "weight", "question_id")}
    texts = row_pair(item, where)
    if texts[0] == texts[1]:
        raise DataError("`chosen` and `rejected` must differ, but are equal: drop the row.")
    return row_prompt(own, where), texts


def label_of(item: Mapping[str, Any], pair: Question, texts: Sequence[str]) -> Label:
    """Return the label that a row gives to the pair of its two texts.

    Raises:
        DataError: if its share of the votes is neither 1 nor 0.5.
    """
    share = item.get("share")
    if share not in (None, 1, 0.5):
        raise DataError(
            f"A row is a preference (share 1) or a tie (0.5), but its share of the votes is {share}: give single votes "
            "(`to_dataset` with `votes` at `every`)."
        )
    who = item.get("annotator")
    annotator = checked_text("A label", "annotator", UNNAMED if who is None else str(who), "name who decided")
    outcome: Any = "tie" if share == 0.5 else "a" if pair.a.text == texts[0] else "b"
    return Label(pair.id, annotator, outcome, id=content_id("trl", pair.id, annotator, outcome))


def weight_of(item: Mapping[str, Any]) -> float:
    """Return a row's weight in the loss; 1 if it has none.

    Raises:
        DataError: if it is not a positive number.
    """
    weight = as_json(item.get("weight"))
    if weight is None:
        return 1.0
    if isinstance(weight, bool) or not isinstance(weight, int | float) or weight <= 0:
        raise DataError(f"A row's weight must be a positive number, but is {weight!r}: correct it, or leave it out.")
    return float(weight)


def _texts(prompt_id: str, texts: Sequence[str]) -> Texts:
    return prompt_id, frozenset(texts)


def _one_prompt(question: Question) -> bool:
    return question.k == 2 and question.a.prompt_id == question.b.prompt_id
