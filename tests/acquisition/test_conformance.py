"""Every rule that a recipe can name keeps the contract, with its default settings; families test their own settings."""

from __future__ import annotations

import pytest

from duelist.acquisition.base import Acquisition
from duelist.recipe.component import Component
from duelist.recipe.components import COMPONENTS
from duelist.testing import check_acquisition


@pytest.mark.parametrize("name", COMPONENTS["acquisition"])
def test_every_rule_keeps_the_contract(name: str) -> None:
    check_acquisition(Component.of(Acquisition, name).build())
