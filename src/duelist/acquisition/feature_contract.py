"""The features that a rule receives: which fields there are, their order in the pool, and what they must fulfil.

Features have two forms. If every question is a pair, the fields of pairs are filled, one row per pair. If some have
more responses, `place_NQ` is filled, and the fields of `FIELDS_OF_SETS` stand in for those of pairs: they have a row
per response or per answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.acquisition.numerics.pool_rows import PoolRows, first_non_finite
from duelist.answers import QUESTION_TYPES
from duelist.choice_models.information import LARGEST_QUESTION
from duelist.errors import DuelistError, NumericalError
from duelist.files.scratch import give_back, temporary_array
from duelist.seeding import hash_keys
from duelist.types import FIELDS_OF_SETS, Features

# Fields with one row per response, and per answer to a past question.
RESPONSE_FIELDS = ("gradient_RD", "embedding_RD", "reward_R")
ANSWER_FIELDS = ("asked_reward_XQ", "rank_XQ", "answered_X")
# Fields with one row per question; `target_MD` has its own rows.
ARRAY_FIELDS = tuple(
    f.name
    for f in dataclasses.fields(Features)
    if f.name not in ("past", "target_MD", *RESPONSE_FIELDS, *ANSWER_FIELDS)
)
# Fields that are always filled.
IDENTITIES = ("pair_id_N", "prompt_ids_N2", "response_ids_N2", "length_N2")
IDS_AT_ONCE = 8192
# What a rule can declare as needed.
NEEDED_FIELDS = frozenset({*ARRAY_FIELDS, "target_MD", "past"} - {"place_NQ", "asks_N"})


def largest_question(features: Features) -> int:
    """Return the number of responses of the largest question, past ones included."""
    parts = [features] if features.past is None else [features, features.past]
    sizes = [(p.place_NQ >= 0).sum(axis=1).max(initial=2) for p in parts if p.place_NQ is not None]
    return int(max(sizes, default=2))


def take(features: Features, rows: NDArray[np.int64]) -> Features:
    """Return the features of some of the questions, in the order of `rows`.

    Past questions are unchanged, and so are fields with a row per response or per answer. Memory-mapped rows become
    `PoolRows`: the same rows in the same order, without a copy. Memory-mapped ids and lengths are copied to another
    temporary file.
    """
    arrays = {name: getattr(features, name) for name in ARRAY_FIELDS}
    filled = {k: v for k, v in arrays.items() if v is not None and (len(v) or not features.n)}  # ids of pairs only
    return dataclasses.replace(features, **{k: _reordered(k, v, rows) for k, v in filled.items()})


def _reordered(name: str, values: Any, rows: NDArray[np.int64]) -> Any:
    if not isinstance(values, np.memmap):
        return values[rows]
    if name not in IDENTITIES:
        return PoolRows(values, rows) if values.ndim > 1 else values[rows]
    found = temporary_array(values.dtype, (len(rows), *values.shape[1:]))
    for start in range(0, len(rows), IDS_AT_ONCE):
        part = slice(start, start + IDS_AT_ONCE)
        found[part] = values[rows[part]]
        give_back(found)
        give_back(values)
    return found


def random_order(features: Features, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the order of the pool: that of the hash of (generator, id of the question), `[N]`.

    Raises:
        DuelistError: if a question is listed twice.
    """
    key_N = hash_keys(rng, _ids(features))
    order_N = np.argsort(key_N, kind="stable")
    ordered_N = key_N[order_N]
    equal_N = ordered_N[1:] == ordered_N[:-1]
    if equal_N.any():  # equal ids have equal hashes; different ones hardly ever
        alike_X = order_N[np.append(equal_N, False) | np.append(False, equal_N)]
        if len(set(features.pair_id_N[alike_X].tolist())) < len(alike_X):
            raise DuelistError("Candidate questions must be distinct, but the pool lists one twice: remove the copies.")
    return order_N


def _ids(features: Features) -> Iterator[str]:
    """Yield the ids of the questions, few of them in memory at a time."""
    for start in range(0, features.n, IDS_AT_ONCE):
        yield from features.pair_id_N[start : start + IDS_AT_ONCE].tolist()
        give_back(features.pair_id_N)


def check_features(features: Features, needs: frozenset[str]) -> None:
    """Check that every needed field is filled, that all its numbers are finite, and that costs are positive.

    Raises:
        DuelistError: if a field is missing or has the wrong shape, or a cost is not positive.
        NumericalError: if a value is NaN or infinite; the message names the pair.
    """
    sets = features.place_NQ is not None
    needs = frozenset({FIELDS_OF_SETS.get(name, name) for name in needs}) if sets else needs
    parts = [("candidate", features)]
    if "past" in needs:
        if features.past is None:
            raise DuelistError("This acquisition needs the past pairs' features, but got none: pass an empty set.")
        parts.append(("past", features.past))
    for which, part in parts:
        if sets:
            _check_questions(part, needs, which)
        # A filled cost counts, even if the rule does not need it.
        filled = {"cost_N"} if part is features and part.cost_N is not None else set()
        for name in sorted((needs | filled) - {"past", *ANSWER_FIELDS}):
            if name == "target_MD" and part is not features:
                continue
            values = getattr(part, name)
            if values is None:
                raise DuelistError(f"This acquisition needs {name} of the {which} pairs, but it was not computed.")
            _check_shape(name, values, part, features, which)
            known = part is not features and values is getattr(features, name)
            broken = first_non_finite(values) if values.dtype.kind == "f" and not known else None
            if broken is not None:
                row, number = broken
                whose = _row_in_words(name, row, part, which)
                raise NumericalError(
                    f"Features must be finite, but {name} of {whose} holds {number}: look "
                    "for an overflow in the model's weights or half-precision arithmetic (use float32 or bfloat16)."
                )
    if sets and features.past is not None and needs & {*ANSWER_FIELDS}:
        _check_answers(features.past)
    if features.cost_N is not None and not (features.cost_N > 0).all():
        row = int(np.argmin(features.cost_N > 0))
        raise DuelistError(
            f"Costs must be positive, but that of candidate pair {features.pair_id_N[row]} is {features.cost_N[row]}: "
            "give seconds per pair."
        )


def _row_in_words(name: str, row: int, part: Features, which: str) -> str:
    if name == "target_MD":
        return f"target pair {row}"
    if name not in RESPONSE_FIELDS:
        return f"{which} pair {part.pair_id_N[row]}"
    assert part.place_NQ is not None  # such fields are needed only then
    asking = np.flatnonzero((part.place_NQ == row).any(axis=1))
    return f"a response of {which} question {part.pair_id_N[asking[0]]}" if len(asking) else f"response {row}"


def _check_shape(name: str, values: Any, part: Features, features: Features, which: str) -> None:
    """Check that there is one row per pair or response, as long as the rows it is multiplied with."""
    rows = part.n
    if name == "target_MD":
        rows = len(values)
    elif name in RESPONSE_FIELDS:  # as many as the other ones
        rows = max(len(v) for v in (getattr(part, x) for x in RESPONSE_FIELDS) if v is not None)
    gradients = "gradient_ND" if features.place_NQ is None else "gradient_RD"
    like = getattr(features, gradients if name == "target_MD" else name)
    row_shape = values.shape[1:] if like is None else like.shape[1:]
    if values.shape != (rows, *row_shape):
        raise DuelistError(
            f"{name} of the {which} pairs must have shape {(rows, *row_shape)}, but has {values.shape}: give one row a "
            f"{'response' if name in RESPONSE_FIELDS else 'pair'}, and compute candidates, past and target pairs with "
            "the same featurizer settings."
        )


def _check_questions(part: Features, needs: frozenset[str], which: str) -> None:
    """Check who is in each question, and what it asks."""
    place_NQ, asks_N = part.place_NQ, part.asks_N
    if place_NQ is None or asks_N is None:
        raise DuelistError(
            "Candidate and past questions must both have `place_NQ` and `asks_N`, or neither, but the "
            f"{which} questions lack one: fill both."
        )
    if place_NQ.ndim != 2 or len(place_NQ) != part.n or asks_N.shape != (part.n,):
        raise DuelistError(
            f"place_NQ and asks_N of the {which} questions must have {part.n} rows, but have shapes {place_NQ.shape} "
            f"and {asks_N.shape}: give one row a question."
        )
    size_N = (place_NQ >= 0).sum(axis=1)
    counts = [len(v) for v in (getattr(part, x) for x in RESPONSE_FIELDS if x in needs) if v is not None]
    right_N = (size_N >= 2) & (size_N <= LARGEST_QUESTION)
    right_N &= place_NQ.max(axis=1, initial=-1) < max(counts, default=2**62)
    right_N &= ((place_NQ >= 0) == (np.arange(place_NQ.shape[1]) < size_N[:, None])).all(axis=1)
    ordered_NQ = np.sort(place_NQ, axis=1)
    right_N &= ~((ordered_NQ[:, 1:] == ordered_NQ[:, :-1]) & (ordered_NQ[:, 1:] >= 0)).any(axis=1)
    if not right_N.all():
        row = int(np.argmin(right_N))
        raise DuelistError(
            f"A question must have from 2 to {LARGEST_QUESTION} different responses of those with features, and −1 "
            f"beyond the last one, but {which} question {part.pair_id_N[row]} has the places {place_NQ[row].tolist()}."
        )
    known_N = np.isin(asks_N, QUESTION_TYPES) & ((asks_N == "pair") == (size_N == 2))
    if not known_N.all():
        row = int(np.argmin(known_N))
        raise DuelistError(
            f"A question must ask for one of {', '.join(QUESTION_TYPES)}, `pair` if and only if it has two responses, "
            f"but {which} question {part.pair_id_N[row]} of {size_N[row]} asks for {str(asks_N[row])!r}."
        )


def _check_answers(past: Features) -> None:
    """Check the answers so far; there are none while the fields are not filled."""
    fields = [getattr(past, name) for name in ANSWER_FIELDS]
    if all(values is None for values in fields):
        return
    shapes = [None if values is None else values.shape for values in fields]
    reward_XQ, rank_XQ, answered_X = fields
    if None in shapes or reward_XQ.ndim != 2 or rank_XQ.shape != reward_XQ.shape or answered_X.shape != (len(rank_XQ),):
        raise DuelistError(
            f"{', '.join(ANSWER_FIELDS)} of the past questions must have one row an answer, but have shapes {shapes}: "
            "fill all three."
        )
    if len(answered_X) and not (answered_X.min() >= 0 and answered_X.max() < past.n):
        raise DuelistError(
            f"answered_X must hold positions among the {past.n} past questions, but holds {answered_X.tolist()!r:.80}."
        )
    if not np.isfinite(reward_XQ).all():
        x = int(np.argwhere(~np.isfinite(reward_XQ))[0][0])
        raise NumericalError(
            f"Features must be finite, but asked_reward_XQ of past question {past.pair_id_N[answered_X[x]]} is not: "
            "look for an overflow in the model's weights or half-precision arithmetic (use float32 or bfloat16)."
        )
