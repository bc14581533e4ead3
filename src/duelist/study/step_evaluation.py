"""Evaluation of the policy every k optimizer steps within a round's training: points of its reward–KL curve.

Reference: PILAF, arXiv 2502.04270, Section 6 (every 50 steps).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

from duelist.models.policy.policy import Policy
from duelist.models.policy.process_state import global_generators_kept
from duelist.models.policy.trained_flags import trained_kept
from duelist.progress import Advance, Progress


@final
class StepEvaluation(Progress):
    """Progress of a training that measures the policy after every k-th optimizer step but the last.

    The round's own evaluation measures the last. Measuring changes nothing of the training: weights, generators,
    trained flags, dropout.

    Args:
        inner: the progress that is shown.
        every: k.
        policy: the policy in training.
        measure: returns its metrics.

    Attributes:
        rows: one row per measurement: `step`, from 1, and the metrics.
    """

    def __init__(
        self, inner: Progress, every: int, policy: Policy, measure: Callable[[Policy], Mapping[str, Any]]
    ) -> None:
        self.rows: list[dict[str, Any]] = []
        self._inner, self._every, self._policy, self._measure = inner, every, policy, measure

    @contextmanager
    def stage(self, description: str, total: int) -> Iterator[Advance]:
        with self._inner.stage(description, total) as advance:
            done = 0

            def count(steps: int) -> None:
                nonlocal done
                done += steps
                advance(steps)
                if done % self._every == 0 and done < total:
                    self.rows.append({"step": done, **self._measured()})

            yield count

    def note(self, text: str) -> None:
        self._inner.note(text)

    def _measured(self) -> Mapping[str, Any]:
        model = self._policy.model
        training = model.training
        with global_generators_kept(), trained_kept(model):
            model.eval()
            try:
                return self._measure(self._policy)
            finally:
                model.train(training)
