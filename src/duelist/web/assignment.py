"""Who is given which question next: pure functions of the derived state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from duelist.errors import RecipeError
from duelist.seeding import generator, hash_uniform
from duelist.web.items import GoldItem, Item, OpenBatch
from duelist.web.record import Purpose, Record

MOST_LABELS = 100  # per question


@dataclass(frozen=True)
class DeskSettings:
    """How questions are given to people.

    Attributes:
        labels: answers per question, each by another person.
        overlap_labels: answers per question on the overlap fraction, instead of `labels`.
        overlap_fraction: fraction of the questions with that many answers, chosen by a hash of the question's id.
        gold_rate: fraction of a person's tasks that are gold questions.
        repeat_rate: fraction of a person's tasks that repeat a question they answered.
        repeat_gap: fewest tasks between an answer and its repeat.
        lease_seconds: time to answer before the question may go to somebody else.
        open_leases: most questions that one person may hold; a page fetches the next while one is shown.
        seed: seed of the display order, the overlap, gold and repeats.

    Raises:
        RecipeError: if a value is out of its range.
    """

    labels: int = 1
    overlap_labels: int = 2
    overlap_fraction: float = 0.0
    gold_rate: float = 0.0
    repeat_rate: float = 0.0
    repeat_gap: int = 10
    lease_seconds: float = 1800.0
    open_leases: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("labels", "overlap_labels", "open_leases"):
            if not 1 <= (value := getattr(self, name)) <= MOST_LABELS:
                raise RecipeError(
                    f"`{name}` must be from 1 to {MOST_LABELS}, but is {getattr(self, name)}: correct it."
                )
        for name in ("overlap_fraction", "gold_rate", "repeat_rate"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise RecipeError(f"`{name}` must be from 0 to 1, but is {value}: correct it.")
        if self.gold_rate + self.repeat_rate > 0.5:
            raise RecipeError(
                "At most half of the tasks may be gold questions and repeats, but `gold_rate` and `repeat_rate` add up "
                f"to {self.gold_rate + self.repeat_rate:g}: lower them."
            )
        if self.lease_seconds <= 0 or self.repeat_gap < 1:
            raise RecipeError(
                "`lease_seconds` must be positive and `repeat_gap` at least 1, but they are "
                f"{self.lease_seconds:g} and {self.repeat_gap}: correct them."
            )


def places(record: Record, settings: DeskSettings, question_id: str) -> int:
    """Return k, the number of people who answer a question."""
    raised = record.overlap.get(question_id)
    if raised is not None:
        return raised
    chosen = settings.overlap_fraction > 0 and _overlap_coin(settings.seed, question_id) < settings.overlap_fraction
    return settings.overlap_labels if chosen else settings.labels


@lru_cache(maxsize=1 << 17)
def _overlap_coin(seed: int, question_id: str) -> float:
    return hash_uniform(seed, "overlap", question_id)


def display_order(seed: int, item: Item, annotator: str, serial: int) -> tuple[str, ...]:
    """Return the response ids in displayed order: a fair, derived draw per question, person and repeat."""
    ids = item.response_ids
    order = generator(seed, "display", item.id, annotator, serial).permutation(len(ids))
    return tuple(ids[i] for i in order)


def next_question(
    record: Record, settings: DeskSettings, batches: Sequence[OpenBatch], annotator: str, hold: Collection[str]
) -> tuple[OpenBatch, Item] | None:
    """Return the first question in pick order that has a free place and that the person has not had.

    Args:
        record: the derived state.
        settings: labels per question and overlap.
        batches: the open batches, the earliest round first.
        annotator: the person.
        hold: ids of questions that the person's page has already.
    """
    had = {*hold, *(x.question_id for x in record.open_leases() if x.annotator == annotator)}
    taken = Counter(x.question_id for x in record.open_leases() if x.purpose == "question")
    for batch in batches:
        for item in batch.items:
            i = item.id
            free = places(record, settings, i) - record.answered.get(i, 0) - taken[i]
            if free > 0 and i not in had and not record.touched(annotator, i):
                return batch, item
    return None


def mixed_in(
    record: Record,
    settings: DeskSettings,
    annotator: str,
    gold: Sequence[GoldItem],
    known: Mapping[str, Item],
    hold: Collection[str],
) -> tuple[Purpose, Item] | None:
    """Return the gold question or the repeat that is this person's next task, with its purpose; None if neither is.

    A derived coin per person and task decides, so gold and repeats come at no recognisable place.
    """
    given = record.given.get(annotator, [])
    coin = hash_uniform(settings.seed, "mixed in", annotator, len(given))
    had = {*hold, *(x.question_id for x in record.open_leases() if x.annotator == annotator)}
    if coin < settings.gold_rate:
        fresh = [g.item for g in gold if g.item.id not in had and not record.touched(annotator, g.item.id)]
        if fresh:
            return "gold", min(fresh, key=lambda x: hash_uniform(settings.seed, "gold", annotator, x.id))
    elif coin < settings.gold_rate + settings.repeat_rate:
        old = {record.leases[i].question_id for i in given[: max(0, len(given) - settings.repeat_gap)]}
        acts = record.acts_of(annotator)
        repeated = {a.question_id for a in acts if a.purpose == "repeat" and not a.undone}
        for act in acts:
            answered = act.answers and act.question_id in old and act.question_id in known
            if answered and act.question_id not in repeated and act.question_id not in had:
                return "repeat", known[act.question_id]
    return None
