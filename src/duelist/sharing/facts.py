"""What the cards say of a study, from its record. Nobody's name and no path of this machine is among it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from duelist.data.sources import SUFFIXES
from duelist.evaluation.metrics import finite, interval_of, shown_in
from duelist.judges.summary import judges_of
from duelist.people.agreement import pairwise_agreement
from duelist.people.intervals import Estimate
from duelist.recipe.component import Component, resolve
from duelist.recipe.docstrings import reference_of
from duelist.recipe.reading import saved_recipe
from duelist.report.record import Arm
from duelist.settings.lookups import PREPARED, is_local
from duelist.types import Label

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Facts:
    """A study in the words and numbers of its cards.

    Attributes:
        name: name of the recipe.
        description: its description.
        trains: `adapter`, `model` or `reward_model`, the folder that is shared.
        base: name of the base model.
        base_on_hub: whether that is a name on the Hub; otherwise it is a folder's last part.
        prompts: the prompts' data set on the Hub; None for files.
        stages: (stage, method) pairs, and main settings.
        questions: number of questions asked.
        answers: number of answers that count.
        outcomes: number of answers by outcome.
        known: number of preferences known before round 1.
        annotator: name of the recipe's annotator; `people` if labels were told.
        people: number of annotators who are no judges.
        agreement: share of agreeing pairs of votes; None where no question has two.
        judges: number of labels by judge, without their names.
        curve_head: heading of the table of metrics.
        curve: its rows, one for each evaluated round.
        rounds: (closed, planned).
        references: references of the methods used.
        at_random: number of questions that were drawn at random from the pool.
    """

    name: str
    description: str
    trains: str
    base: str | None
    base_on_hub: bool
    prompts: str | None
    stages: Sequence[tuple[str, str]]
    questions: int
    answers: int
    outcomes: Mapping[str, int]
    known: int
    annotator: str
    people: int
    agreement: Estimate | None
    judges: Sequence[int]
    curve_head: Sequence[str]
    curve: Sequence[Sequence[str]]
    rounds: tuple[int, int]
    references: Sequence[str]
    at_random: int

    @property
    def agreement_in_words(self) -> str:
        """The agreement with its interval, or why there is none."""
        if self.agreement is None:
            return "No question was answered twice, so agreement is not known."
        a = self.agreement
        interval = f"95 % interval {a.low:.0%}–{a.high:.0%}"
        return f"{a.value:.0%} of {a.n} pairs of votes on the same question agree ({interval})."


def facts_of(arm: Arm) -> Facts:
    """Return what the cards say of a study."""
    recipe = saved_recipe(arm.recipe)
    policy = recipe.policy
    base = None if policy is None else policy.model
    on_hub = base is not None and _on_hub(base)
    if base is not None and recipe.initial is not None and recipe.initial.sft is not None:
        base, on_hub = f"{base.rstrip('/').rpartition('/')[2]}, fine-tuned by the study", False
    by_people = [x for x in arm.labels if x.judgement is None and x.votes is None]
    head, curve = _curve(arm)
    kinds = ("sampler", "pairing", "acquisition", "trainer")
    components = [(kind, getattr(recipe, kind)) for kind in kinds]
    settings = {"β": recipe.beta, "rounds": recipe.rounds, "budget": f"{recipe.budget} questions per round"}
    first = min(recipe.initial_random, len(arm.asked))
    at_random = max(first, sum(bool(x.control) for x in arm.asked))  # those before the rule are control pairs too
    references = [reference_of(resolve(kind, component.name)[0]) for kind, component in components]
    return Facts(
        name=recipe.name,
        description=recipe.description,
        trains="reward_model" if recipe.reward_model else "adapter" if policy and policy.adapter == "lora" else "model",
        base=base if base is None or on_hub else base.rstrip("/").rpartition("/")[2],
        base_on_hub=on_hub,
        prompts=recipe.prompts.path if _on_hub(recipe.prompts.path) else None,
        stages=[(kind, _short(component)) for kind, component in components]
        + [(key, str(value)) for key, value in {**settings, "seed": recipe.seed}.items()],
        questions=len(arm.asked),
        answers=len(arm.answers),
        outcomes=dict(sorted(Counter(x.outcome for x in arm.answers).items())),
        known=arm.known,
        annotator="people" if recipe.annotator is None else _short(recipe.annotator),
        people=len({x.annotator for x in arm.answers if not (isinstance(x, Label) and x.judgement is not None)}),
        agreement=pairwise_agreement(by_people),
        judges=[use.labels for use in judges_of(arm.judged)],
        curve_head=head,
        curve=curve,
        rounds=(arm.rounds_closed, arm.rounds),
        references=list(dict.fromkeys(x for x in references if x and not x.startswith("none"))),
        at_random=len(arm.asked) if recipe.acquisition.build().uniform else at_random,
    )


def _curve(arm: Arm) -> tuple[list[str], list[list[str]]]:
    """Return the table of the metrics that the terminal shows, as far as they were measured."""
    shown = [m for m in shown_in("terminal") if any(finite(line.get(m.name)) is not None for line in arm.measured)]
    rows = []
    for line in arm.measured:
        cells = [str(line["round"]), str(line["labels"])]
        for m in shown:
            value, ends = finite(line.get(m.name)), interval_of(m, line)
            text = "–" if value is None else f"{value:.{m.digits}f}"
            cells.append(text if ends is None else f"{text} ({ends[0]:.{m.digits}f}–{ends[1]:.{m.digits}f})")
        rows.append(cells)
    return ["round", "labels", *(m.heading for m in shown)], rows


def _on_hub(name: str) -> bool:
    """Return whether a name is one on the Hub, as far as can be said without asking."""
    return PREPARED not in name and not is_local(name, ("/", *SUFFIXES)) and bool(HUB_NAME.fullmatch(name))


def _short(component: Component[Any]) -> str:
    """Return a component's name; of an own class, only the class, without the path of its file."""
    return component.name if component.is_shipped else component.name.rpartition(":")[2]
