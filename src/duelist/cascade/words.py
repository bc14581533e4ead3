"""What a cascade's judge was trusted with in a round, in words, from the record of the stage `prelabel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SHOWN = 3  # names of slices


def in_words(info: Mapping[str, Any]) -> list[str]:
    """Return what the user should know of a round, one sentence each.

    Args:
        info: the facts that the cascade recorded (`duelist.cascade.labelling.labels_of`).
    """
    lines = [f"takes {info['taken']} of {info['pairs']} pairs; people label {info['pairs'] - info['taken']}."]
    shown = [x for x in info["trust"] if x["audits"]] or info["trust"]
    return lines + [_of_slices(x, info["max_error"], alone=len(info["trust"]) == 1) for x in shown]


def _of_slices(trust: Mapping[str, Any], max_error: float, alone: bool) -> str:
    names = [repr(name) for name in trust["slices"]]
    more = ["..."] if len(names) > SHOWN else []
    where = "" if alone else f"slice{'s' * (len(names) > 1)} {', '.join(names[:SHOWN] + more)}: "
    seen = f"{trust['errors']} errors in {trust['audits']} audits"
    seen += f" ({trust['skipped']} more were skipped)" if trust["skipped"] else ""
    if trust["threshold"] is not None:
        return f"{where}trusted, with {seen}: an error of at most {trust['bound']:.3f}."
    if trust["audits"] < trust["needed"]:
        return f"{where}not trusted yet, with {seen}; at least {trust['needed']} are needed."
    return (
        f"{where}not trusted, with {seen}: an error of up to {trust['bound']:.3f} is possible, and {max_error:g} is "
        "allowed."
    )
