"""Interface of a judge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from duelist.engines.base import Engine
from duelist.judgement import Judgement
from duelist.progress import Progress
from duelist.settings.context import Checked
from duelist.types import Prompt, Question


@dataclass(frozen=True)
class Comparison:
    """Two responses to one prompt, to be judged in both orders.

    Attributes:
        prompt: the prompt.
        a: the text of one response.
        b: the text of the other.
    """

    prompt: Prompt
    a: str
    b: str

    @staticmethod
    def of(question: Question, prompt: Prompt) -> Comparison:
        """Return the comparison that a pair asks for."""
        return Comparison(prompt, question.a.text, question.b.text)


class Judge(Checked, ABC):
    """Model that compares two responses.

    Attributes:
        name: the annotator's name in its labels: what judges, and by which rubric.
    """

    name: str

    def compute_with(self, engine: Engine, progress: Progress) -> None:
        """Compute with this engine what a model in memory computes batch by batch; the default is this process.

        Args:
            engine: the engine.
            progress: is told of failures that were recovered from.
        """

    @abstractmethod
    def judge(self, comparisons: Sequence[Comparison], seed: int, progress: Progress) -> list[Judgement]:
        """Return a judgement per comparison, in order; each is asked in both orders.

        An unusable verdict is an opinion of None. It is never guessed, and a repeated request never changes sides.

        Args:
            comparisons: what to judge.
            seed: the only source of randomness; the same comparison with the same seed gets the same judgement.
            progress: receives the number of finished comparisons.

        Raises:
            ModelError: if the judge cannot be reached, or cannot do what it was asked for.
            BudgetError: if its budget of tokens or money is spent. What was judged so far is kept in the cache.
        """
