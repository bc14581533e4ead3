"""Intervals against SciPy's, against definitions, and by their coverage."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from scipy import stats

from duelist.people.intervals import Estimate, clopper_pearson, clustered_proportion, median, proportion


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (0, 9), (3, 9), (9, 9), (180, 400)])
def test_proportions_have_the_exact_interval(hits: int, n: int) -> None:
    expected = stats.binomtest(hits, n).proportion_ci(0.95, method="exact")
    found = proportion(hits, n)
    assert found is not None and (found.value, found.n) == (hits / n, n)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_without_observations_there_is_no_estimate() -> None:
    assert proportion(0, 0) is None and clustered_proportion([], []) is None and median([]) is None
    assert clustered_proportion([0, 0], [0, 0]) is None


def test_clusters_of_one_observation_are_nearly_independent_observations() -> None:
    found = clustered_proportion([1] * 60 + [0] * 40, [1] * 100)
    assert found is not None and (found.value, found.n) == (0.6, 100)
    assert (found.low, found.high) == pytest.approx(clopper_pearson(60, 100), abs=2e-3)


def test_copies_of_an_observation_add_nothing() -> None:
    one = clustered_proportion([1] * 30 + [0] * 20, [1] * 50)
    many = clustered_proportion([6] * 30 + [0] * 20, [6] * 50)
    assert one is not None and many is not None and many.n == 300
    assert many.high - many.low == pytest.approx(one.high - one.low, rel=0.05)


@pytest.mark.parametrize("hits", [0, 3])
def test_unanimous_clusters_count_once_each(hits: int) -> None:
    found = clustered_proportion([hits] * 12, [3] * 12)
    assert found is not None
    assert (found.low, found.high) == clopper_pearson(12 * hits / 3, 12)


def test_equal_clusters_are_at_most_as_good_as_independent_observations() -> None:
    found = clustered_proportion([1] * 20, [3] * 20)
    assert found == Estimate(1 / 3, *clopper_pearson(20, 60), 60)


def test_one_cluster_is_one_observation() -> None:
    assert clustered_proportion([1], [3]) == Estimate(1 / 3, *clopper_pearson(1 / 3, 1), 3)


def test_clustered_intervals_cover_the_truth() -> None:
    """Clusters of one to six pairs with a random rate each: a plain interval misses the mean far too often."""
    rng = np.random.default_rng(1)
    covered, naive = 0, 0
    for _ in range(400):
        sizes = rng.integers(1, 7, size=40)
        hits = rng.binomial(sizes, rng.beta(0.8, 0.4, size=40))
        found, plain = (
            clustered_proportion(hits.tolist(), sizes.tolist()),
            proportion(int(hits.sum()), int(sizes.sum())),
        )
        assert found is not None and plain is not None
        covered += found.low <= 2 / 3 <= found.high
        naive += plain.low <= 2 / 3 <= plain.high
    assert covered >= 0.93 * 400 > naive


def test_the_median_lies_between_order_statistics() -> None:
    rng = np.random.default_rng(0)
    values = sorted(rng.exponential(20, size=40).tolist())
    found = median(values)
    assert found is not None and (found.value, found.n) == ((values[19] + values[20]) / 2, 40)
    low, high = values.index(found.low), values.index(found.high)
    assert stats.binom.cdf(low, 40, 0.5) <= 0.025 < stats.binom.cdf(low + 1, 40, 0.5)
    assert high == 39 - low


def test_few_values_do_not_bound_the_median() -> None:
    assert median([3.0, 1.0, 2.0]) == Estimate(2.0, -inf, inf, 3)
    found = median([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert found == Estimate(3.5, 1.0, 6.0, 6)


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert median([4.0] * 20) == Estimate(4.0, 4.0, 4.0, 20)
