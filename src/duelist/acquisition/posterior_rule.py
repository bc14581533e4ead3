"""Base class of the rules that use a posterior of the margins."""

from __future__ import annotations

from abc import ABC
from typing import Generic, TypeVar

from duelist.acquisition.base import Acquisition
from duelist.acquisition.numerics.posterior import PosteriorConfig

Config = TypeVar("Config", bound=PosteriorConfig)


class PosteriorRule(Acquisition, ABC, Generic[Config]):
    """A rule that needs only the fields that its posterior needs."""

    config: Config

    @property
    def needs(self) -> frozenset[str]:
        return self.config.needs
