"""Export of the recorded preferences, in formats that other tools read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from duelist.errors import DataError
from duelist.store.store import Store


def trl_rows(store: Store) -> Iterator[dict[str, Any]]:
    """Yield rows in TRL's preference format (`prompt`, `chosen`, `rejected`), one per label that is a preference.

    Rows are sorted by pair and annotator. Conversational prompts give lists of messages, plain ones text.

    Raises:
        DataError: if a pair's responses answer two prompts, which TRL's format cannot represent.
    """
    for row in preference_rows(store):
        if "prompt" not in row:
            raise DataError(
                "TRL's format has one prompt for both responses, but this study's pairs cross prompts: export them "
                "with `--format jsonl`."
            )
        yield row


def preference_rows(store: Store) -> Iterator[dict[str, Any]]:
    """Yield the rows of `trl_rows`; cross-prompt pairs have `prompt_chosen` and `prompt_rejected` for `prompt`."""
    prompts = store.prompts()
    for p in store.preferences():
        own, other = p.prompt, prompts[p.rejected.prompt_id]
        asked = (
            {"prompt": own.as_trl()}
            if own.id == other.id
            else {"prompt_chosen": own.as_trl(), "prompt_rejected": other.as_trl()}
        )
        yield {**asked, "chosen": p.chosen.as_trl(own), "rejected": p.rejected.as_trl(other)}


def label_rows(store: Store) -> Iterator[dict[str, Any]]:
    """Yield every asked pair with each of its labels, including ties, skips and superseded labels."""
    prompts = store.prompts()
    by_pair: dict[str, list[dict[str, Any]]] = {}
    for label in store.labels():
        votes = None if label.votes is None else vars(label.votes)
        fields = {k: getattr(label, k) for k in ("id", "annotator", "outcome", "seconds", "shown", "time")}
        by_pair.setdefault(label.pair_id, []).append({**fields, "votes": votes})
    for x in store.asked():
        prompt, other = prompts[x.question.a.prompt_id], prompts[x.question.b.prompt_id]
        yield {
            "pair_id": x.question.id,
            "round": x.round,
            "position": x.position,
            "score": x.score,
            "score_unit": x.unit,
            "margin": x.margin,
            "weight": x.question.weight,
            "prompt": prompt.as_trl(),
            **({} if other.id == prompt.id else {"prompt_b": other.as_trl()}),  # a pair that crosses prompts
            "response_a": x.question.a.text,
            "response_b": x.question.b.text,
            "labels": by_pair.get(x.question.id, []),
        }
