"""The gallery: every rule runs on the plane, picks what it says, and is drawn."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import multivariate_normal

from duelist.errors import RecipeError
from duelist.gallery.figures import ranks
from duelist.gallery.plane import GalleryConfig, draw_rule, true_reward, write_gallery
from duelist.recipe.components import COMPONENTS
from tiers import first

SMALL = GalleryConfig(rounds=2, points=60, picks=8, steps=25)


def test_the_true_reward_is_the_log_density_of_two_gaussians() -> None:
    points_R2 = np.random.default_rng(0).normal(size=(20, 2)) * 2
    density_R = sum(multivariate_normal([c, c], 0.25 * np.eye(2)).pdf(points_R2) for c in (2.5, -2.5)) / 2
    np.testing.assert_allclose(true_reward(points_R2), np.log(density_R), rtol=1e-9)


@pytest.mark.parametrize("rule", COMPONENTS["acquisition"])
def test_every_rule_can_be_drawn(rule: str, tmp_path: Path) -> None:
    panels = draw_rule(rule, SMALL)
    assert len(panels) == 2 and panels[0].error == 1.0  # nothing is known before the first labels
    assert panels[1].error < 1.0 and np.ptp(panels[1].estimate_XX) > 0
    for panel in panels:
        assert panel.points_R2.shape == (60, 2) and panel.picks_B2.shape == (8, 2)
        assert len({tuple(p) for p in panel.picks_B2.tolist()}) == 8
        assert (panel.picks_B2[:, 0] // 10 == panel.picks_B2[:, 1] // 10).all()


@pytest.mark.parametrize("rule", first(3, ["activedpo", "thompson", "random", *COMPONENTS["acquisition"]]))
def test_a_rule_is_drawn_the_same_twice(rule: str) -> None:
    once, again = draw_rule(rule, SMALL), draw_rule(rule, SMALL)
    assert all(np.array_equal(a.picks_B2, b.picks_B2) for a, b in zip(once, again, strict=True))


def test_pictures_are_written(tmp_path: Path) -> None:
    written = write_gallery(tmp_path / "pictures", ["random", "duelist.acquisition.random:Random"], SMALL)
    assert [p.name for p in written] == ["random.png", "Random.png"]
    for path in written:
        with Image.open(path) as picture:
            assert picture.format == "PNG" and picture.width > 900  # three panels, sharp on dense screens


def test_every_rule_gets_the_same_points() -> None:
    random, thompson = (draw_rule(rule, SMALL) for rule in ("random", "thompson"))
    assert all(np.array_equal(a.points_R2, b.points_R2) for a, b in zip(random, thompson, strict=True))


def test_ranks_keep_the_order() -> None:
    found_XX = ranks(np.array([[3.0, -1.0], [0.5, 100.0]]))
    np.testing.assert_allclose(found_XX, [[2 / 3, 0.0], [1 / 3, 1.0]])


def test_an_unknown_rule_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=re.escape("Did you mean 'entropy'")):
        write_gallery(tmp_path, ["entropi"], SMALL)
