"""What people are shown: a question with its texts, and the batch that is open for answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Asks = Literal["pair", "best_of_k", "best_worst", "ranking"]
Phase = Literal["labelling", "training", "finished"]


@dataclass(frozen=True)
class ItemMessage:
    """One message of a prompt."""

    role: str
    text: str


@dataclass(frozen=True)
class ItemResponse:
    """One response to compare."""

    id: str
    text: str


@dataclass(frozen=True)
class Item:
    """A question as people see it. The order of its responses means nothing and is never what is displayed."""

    id: str
    asks: Asks
    prompt: tuple[ItemMessage, ...]
    responses: tuple[ItemResponse, ...]

    @property
    def response_ids(self) -> tuple[str, ...]:
        """The ids of the responses."""
        return tuple(r.id for r in self.responses)


@dataclass(frozen=True)
class OpenBatch:
    """The questions of one round, in pick order: the one that teaches most comes first."""

    round: int
    items: tuple[Item, ...]


@dataclass(frozen=True)
class GoldItem:
    """A question whose answer is known, mixed in to see whether an annotator reads.

    Attributes:
        item: the question.
        outcome: the right outcome, as an act says it (`prefer`, `tie`, `both_bad`, …).
        chosen: the right response's id, if the outcome is `prefer`.
        best: the right best response's id, if the question asks for one.
    """

    item: Item
    outcome: str
    chosen: str = ""
    best: str = ""

    def met_by(self, act: Mapping[str, Any]) -> bool:
        """Return whether an act gives the known answer."""
        if act.get("outcome") != self.outcome:
            return False
        if self.outcome == "ranked":
            return act.get("best") == self.best or next(iter(act.get("ranking") or []), None) == [self.best]
        return self.outcome != "prefer" or act.get("chosen") == self.chosen


@dataclass(frozen=True)
class Standing:
    """Where the study stands.

    Attributes:
        phase: what happens now, apart from the batches that are open.
        round: the round in progress.
        rounds: the number of rounds planned.
        budget_left: questions that may still be asked, those of the open batch without an answer included.
    """

    phase: Phase
    round: int
    rounds: int
    budget_left: int


@dataclass(frozen=True)
class Insight:
    """What the owner should know about the study.

    Attributes:
        curve: one entry per closed round, with its number, its labels and its metrics.
        next_label_nats: expected information of the next label, in nats; None if the rule does not say.
        stopping_saves: labels that would not be needed if the study stopped now; None if unknown.
    """

    curve: tuple[Mapping[str, Any], ...] = ()
    next_label_nats: float | None = None
    stopping_saves: int | None = None


def item_messages(messages: Sequence[Mapping[str, Any]]) -> tuple[ItemMessage, ...]:
    """Return a prompt's messages as people see them; content in parts is shown as its text, other parts by type."""

    def text(content: Any) -> str:
        if isinstance(content, str):
            return content
        parts = content if isinstance(content, list) else [content]
        found = [p.get("text", f"[{p.get('type', 'part')}]") if isinstance(p, Mapping) else str(p) for p in parts]
        return "\n".join(map(str, found))

    return tuple(ItemMessage(str(m.get("role", "user")), text(m.get("content", ""))) for m in messages)


class Source(Protocol):
    """The study, as far as the annotation server needs it. May be called from any thread."""

    @property
    def name(self) -> str:
        """Name of the study."""
        ...

    def standing(self) -> Standing:
        """Return where the study stands."""
        ...

    def insight(self) -> Insight:
        """Return what the owner should know about the study."""
        ...
