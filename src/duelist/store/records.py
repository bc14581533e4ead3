"""Records as JSON, for artifacts and the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from duelist.types import Pair, Preference, Prompt, Response


def response_json(response: Response) -> dict[str, Any]:
    """A response as JSON; `response_from` gives it back."""
    return {
        "id": response.id,
        "prompt_id": response.prompt_id,
        "text": response.text,
        "prompt_token_ids": list(response.prompt_token_ids),
        "token_ids": list(response.token_ids),
        "drawn_from": response.drawn_from,
        "round": response.round,
    }


def response_from(value: dict[str, Any]) -> Response:
    """The response that `response_json` wrote."""
    ids = {"prompt_token_ids": tuple(value["prompt_token_ids"]), "token_ids": tuple(value["token_ids"])}
    return Response(**{**value, **ids})


def pair_json(pair: Pair) -> dict[str, Any]:
    """A pair as JSON, by the ids of its responses."""
    drawn_from = [pair.a.drawn_from, pair.b.drawn_from]
    return {
        "id": pair.id,
        "a": pair.a.id,
        "b": pair.b.id,
        "round": pair.round,
        "weight": pair.weight,
        "drawn_from": drawn_from,
    }


def pair_from(value: dict[str, Any], responses: dict[str, Response]) -> Pair:
    """The pair that `pair_json` wrote, in this version or an earlier one."""
    a, b = responses[value["a"]], responses[value["b"]]
    drawn_a, drawn_b = value.get("drawn_from", (a.drawn_from, b.drawn_from))
    a, b = replace(a, drawn_from=drawn_a), replace(b, drawn_from=drawn_b)
    return Pair(value["id"], a, b, value["round"], value.get("weight", 1.0))


def preference_json(preference: Preference) -> dict[str, Any]:
    """A preference as JSON, by the ids of its prompt and responses."""
    by_id = ("prompt", "chosen", "rejected")
    values = {f.name: getattr(preference, f.name) for f in fields(Preference)}
    return {k: v.id if k in by_id else v for k, v in values.items()}


def preference_from(
    value: Mapping[str, Any], prompts: Mapping[str, Prompt], responses: Mapping[str, Response]
) -> Preference:
    """The preference that `preference_json` wrote."""
    sides = {"chosen": responses[value["chosen"]], "rejected": responses[value["rejected"]]}
    return Preference(**{**value, "prompt": prompts[value["prompt"]], **sides})
