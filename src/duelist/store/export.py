"""What was learnt about people's preferences, in formats that other tools read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from duelist.store.store import Store


def trl_rows(store: Store) -> Iterator[dict[str, Any]]:
    """TRL's preference format: `prompt`, `chosen`, `rejected`, one row per label that is a preference.

    Sorted by pair and annotator. Conversational prompts give lists of messages, plain ones text.
    """
    for p in store.preferences():
        yield {
            "prompt": p.prompt.as_trl(),
            "chosen": p.chosen.as_trl(p.prompt),
            "rejected": p.rejected.as_trl(p.prompt),
        }


def label_rows(store: Store) -> Iterator[dict[str, Any]]:
    """Every pair that was asked with every label it got, ties and skips and superseded ones too."""
    prompts = store.prompts()
    by_pair: dict[str, list[dict[str, Any]]] = {}
    for label in store.labels():
        votes = None if label.votes is None else vars(label.votes)
        fields = {k: getattr(label, k) for k in ("id", "annotator", "outcome", "seconds", "shown", "time")}
        by_pair.setdefault(label.pair_id, []).append({**fields, "votes": votes})
    for x in store.asked():
        prompt = prompts[x.pair.a.prompt_id]
        yield {
            "pair_id": x.pair.id,
            "round": x.round,
            "position": x.position,
            "score": x.score,
            "score_unit": x.unit,
            "margin": x.margin,
            "weight": x.pair.weight,
            "prompt": prompt.as_trl(),
            "response_a": x.pair.a.text,
            "response_b": x.pair.b.text,
            "labels": by_pair.get(x.pair.id, []),
        }
