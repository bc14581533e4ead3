"""Log-probabilities of the policy and of its reference, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.implicit_reward import log_probs
from duelist.models.policy.policy import Policy
from duelist.progress import Advance, Silent
from duelist.types import Prompt, Response


class FailsAt(Silent):
    """Progress whose bar fails once it is told of the last responses."""

    def __init__(self, last: int) -> None:
        self.left = last

    @contextmanager
    def stage(self, description: str, total: int) -> Iterator[Advance]:
        def advance(steps: int) -> None:
            self.left -= steps
            if self.left <= 0:
                raise OSError("no terminal")

        yield advance


def test_the_policy_is_itself_again_after_an_error_between_two_batches(tiny_model: Path) -> None:
    config = PolicyConfig(model=str(tiny_model), device="cpu", lora={"r": 2, "target_modules": ["q_proj"]})
    policy = Policy.load(config, seed=3)
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.ones_(parameter)
    prompt = Prompt.of("w1")
    responses = [Response.of(prompt, "w2", [5, 6], [7, 8, 9], 1), Response.of(prompt, "w3", [5, 6], [7], 1)]
    expected = log_probs(policy, responses, 4, Silent())
    assert (expected[0] != expected[1]).all()
    with pytest.raises(OSError, match="no terminal") as kept:  # with the traceback, and so with what it refers to
        log_probs(policy, responses, 4, FailsAt(3))
    found = log_probs(policy, responses, 4, Silent())
    assert kept.value and [list(x) for x in found] == [list(x) for x in expected]
