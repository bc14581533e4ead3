"""Gold questions: a data set whose answers are known, in the formats that `duelist` reads elsewhere.

A row has a prompt and either two responses with a decision (`chosen` and `rejected`, or `response_a` and `response_b`
with `label` or vote counts), or a list `responses` with `best`, the position of the best one from 0.
"""

from __future__ import annotations

from duelist.data.rows import row_decision, row_prompt, row_responses
from duelist.data.sources import Row, RowSource
from duelist.errors import DataError
from duelist.types import content_id
from duelist.web.items import GoldItem, Item, ItemResponse, item_messages


def read_gold(path: str) -> list[GoldItem]:
    """Return the gold questions of a file.

    Raises:
        DataError: if the file cannot be read, or a row has no known answer.
    """
    return [_gold(row, where) for where, row in RowSource(path)]


def _gold(row: Row, where: str) -> GoldItem:
    prompt, texts = row_prompt(row, where), row_responses(row, where)
    if len(texts) < 2 or len(set(texts)) < len(texts):
        raise DataError(
            f"A gold question must have two or more different responses, but {where} has {len(texts)}, "
            f"{len(set(texts))} of them different: correct it or drop the row."
        )
    responses = tuple(ItemResponse(content_id("gold response", prompt.id, text), text) for text in texts)
    question_id = content_id("gold", prompt.id, *(r.id for r in responses))
    messages = item_messages(prompt.messages)
    best = row.get("best")
    if best is not None or len(texts) > 2:
        if not isinstance(best, int) or isinstance(best, bool) or not 0 <= best < len(texts):
            raise DataError(
                f"A gold question with a list of {len(texts)} responses must have `best`, a position from 0 to "
                f"{len(texts) - 1}, but that of {where} is {best!r}: add or correct it."
            )
        if len(texts) > 2:
            return GoldItem(Item(question_id, "best_of_k", messages, responses), "ranked", best=responses[best].id)
        return GoldItem(Item(question_id, "pair", messages, responses), "prefer", chosen=responses[best].id)
    decision = row_decision(row, where)
    if decision is None or decision[0] == "skip":
        raise DataError(f"A gold question must have a known answer, but {where} has none: add `label`.")
    item, outcome = Item(question_id, "pair", messages, responses), decision[0]
    if outcome in ("a", "b"):
        return GoldItem(item, "prefer", chosen=responses[int(outcome == "b")].id)
    return GoldItem(item, outcome)
