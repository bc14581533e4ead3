"""Ids, lengths and distinct responses of a pool, against plain lists."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.featurizers import identities as module
from duelist.featurizers.base import distinct_responses
from duelist.featurizers.identities import NAMES, identities
from duelist.files import scratch
from duelist.types import Features, Prompt, Question, Response

PROMPT = Prompt.of("x")
RESPONSES = [Response.of(PROMPT, f"r{i}", [1], list(range(2, 3 + i)), 0) for i in range(9)]


@pytest.mark.parametrize("longest", ["first", "last"])
@pytest.mark.parametrize("mapped_above", [0, 2**22])
def test_ids_are_those_of_all_pairs_together(
    mapped_above: int, longest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "MAPPED_ABOVE", mapped_above)
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 4)
    pairs = [Question.pair(a, b, 0) for a, b in pairwise(RESPONSES)]
    pairs = [*pairs, Question("p" * 40, (RESPONSES[0], RESPONSES[5]), 0)][:: 1 if longest == "last" else -1]
    found, expected = identities(pairs), Features.identities(pairs)
    for name in NAMES:
        own, its = getattr(found, name), getattr(expected, name)
        assert own.dtype == its.dtype and np.array_equal(own, its)
        assert isinstance(own, np.memmap) == (mapped_above == 0)
    assert identities(pairs[:3]).pair_id_N.tolist() == [p.id for p in pairs[:3]]
    assert identities([]).prompt_ids_N2.shape == (0, 2)


@given(sets=st.lists(st.lists(st.integers(0, 8), min_size=2, max_size=4, unique=True), max_size=9))
def test_every_response_is_found_once_and_in_its_place(sets: list[list[int]]) -> None:
    questions = [Question.of([RESPONSES[i] for i in some], "ranking", 0) for some in sets]
    responses, place_NQ = distinct_responses(questions)
    assert list(responses) == list(dict.fromkeys(r for q in questions for r in q.responses))
    assert place_NQ.shape == (len(questions), max([2, *map(len, sets)])) and place_NQ.dtype == np.int64
    for question, place_Q in zip(questions, place_NQ.tolist(), strict=True):
        assert [responses[i] for i in place_Q[: question.k]] == list(question.responses)
        assert place_Q[question.k :] == [-1] * (len(place_Q) - question.k)
