"""Rows of a folder of features, against a dictionary."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from duelist.featurizers.feature_folder import FeatureCache, FeatureFolder
from duelist.types import Prompt, Response

RESPONSES = [Response.of(Prompt.of("x"), f"r{i}", [1], [2 + i], 0) for i in range(9)]
WANTED = st.lists(st.integers(0, 8), unique=True, max_size=6)


@given(runs=st.lists(st.tuples(WANTED, st.booleans()), max_size=4))
@example(runs=[([3, 1], True), ([5, 4], False), ([1, 7, 5], True), ([0, 7, 3, 4], True)])
def test_every_response_keeps_its_numbers_whatever_is_asked_for_next(runs: list[tuple[list[int], bool]]) -> None:
    """Each run asks for some responses; those that nothing is known of are computed, or the run is killed before."""
    computed: dict[int, float] = {}
    with TemporaryDirectory() as scratch:
        for wanted, killed in runs:
            responses = [RESPONSES[i] for i in wanted]
            with FeatureFolder.open(FeatureCache(Path(scratch)), {"model": "m"}, responses, None) as kept:
                missing = [int(i) for index_B in kept.batches(("policy",), lambda all_X: [all_X]) for i in index_B]
                assert sorted(wanted[i] for i in missing) == sorted(set(wanted) - set(computed))
                if missing and not killed:
                    kept.put(np.array(missing), {"policy": np.array([wanted[i] + 0.5 for i in missing])})
                    kept.save()
                    computed |= {wanted[i]: wanted[i] + 0.5 for i in missing}
                found = dict(zip(wanted, kept.log_probs("policy").tolist(), strict=True))
                assert {i: found[i] for i in wanted if i in computed} == {
                    i: value for i, value in computed.items() if i in wanted
                }
