"""What every rule on a posterior of the margins has in common."""

from __future__ import annotations

from abc import ABC
from typing import Generic, TypeVar

from duelist.acquisition.base import Acquisition
from duelist.acquisition.numerics.posterior import PosteriorConfig

Config = TypeVar("Config", bound=PosteriorConfig)


class PosteriorRule(Acquisition, ABC, Generic[Config]):
    """A rule that needs what its posterior is made of, and nothing else."""

    config: Config

    @property
    def needs(self) -> frozenset[str]:
        return self.config.needs
