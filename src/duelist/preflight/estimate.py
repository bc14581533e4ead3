"""Estimate of a study: the plan's counts with seconds, people's hours, memory, disk and money (`duelist plan`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from duelist.cascade.page import people_at_the_page
from duelist.preflight.cost_model import PASSING, CostModel, predicted
from duelist.preflight.described import MachineConfig, seconds_on
from duelist.preflight.examination import Findings, examine
from duelist.preflight.fitting import Room, remedies, room_here
from duelist.preflight.plan import GIB, PROMPT_TOKENS, Plan, plan_of, plan_rows
from duelist.preflight.probe_cache import cached_probe
from duelist.preflight.work import RoundWork, work_of_rounds
from duelist.recipe.recipe import Recipe
from duelist.types import QuestionType


@dataclass(frozen=True)
class RoundCost:
    """Cost of one round: seconds of each stage, and bytes that stay on disk."""

    round: int
    seconds: Mapping[str, float]
    bytes: float | None


@dataclass(frozen=True)
class Estimate:
    """Cost of a study. A field is None if it is not known; `plan.notes` says why.

    Attributes:
        plan: counts, and sizes by formula.
        source: where the seconds come from, in words.
        device: `cpu`: seconds are CPU seconds; else seconds of the device.
        rounds: rounds 0 to T.
        start_seconds: loading libraries and models, once per process.
        seconds: of the whole study.
        people_hours: expected hours of the people who label; 0 if nobody does.
        disk_bytes: the study's folder at its largest.
        memory_bytes: memory at its largest, activations included.
        money: by currency: machine and people.
        changes: what to change, because memory or disk does not suffice.
    """

    plan: Plan
    source: str | None
    device: str | None
    rounds: Sequence[RoundCost]
    start_seconds: float | None
    seconds: float | None
    people_hours: float | None
    disk_bytes: float | None
    memory_bytes: float | None
    money: Mapping[str, float]
    changes: Sequence[str]


def estimate(
    recipe: Recipe, *, libraries: bool, machine: MachineConfig | None = None, measured: CostModel | None = None
) -> Estimate:
    """Return what a study of `recipe` will cost, without running anything.

    Args:
        recipe: the recipe.
        libraries: if False, nothing is loaded that needs torch.
        machine: a described machine; None: this one.
        measured: a probe of this machine; None: the last one of this recipe, if there was one.

    Raises:
        DuelistError: if the recipe names something that is not usable.
    """
    found = examine(recipe, offline_ok=True, libraries=libraries)
    model = None if machine is not None else measured or cached_probe(recipe)
    return estimate_of(found, libraries=libraries, machine=machine, model=model)


def estimate_of(
    found: Findings, *, libraries: bool, machine: MachineConfig | None = None, model: CostModel | None = None
) -> Estimate:
    """Return what a study of a recipe that was examined will cost; see `estimate`.

    Args:
        found: the recipe, examined.
        libraries: if False, nothing is loaded that needs torch.
        machine: a described machine; None: this one.
        model: a probe of this machine; None if there was none, or another machine is described.
    """
    plan, work = plan_of(found, libraries=libraries), work_of_rounds(found.recipe, found.prompts)
    rounds = _rounds(found, plan, work, model, machine)
    known = bool(rounds) and any(r.seconds for r in rounds)
    start = model.start_seconds if model is not None else None
    seconds = sum(sum(r.seconds.values()) for r in rounds) + (start or 0.0) if known else None
    hours, wage, currency = _people(found, plan, model)
    disk = float(plan.disk_bytes) if plan.disk_bytes is not None else None
    if model is not None and rounds:
        weights = model.bytes.get("train", {}).get("rounds", 0.0)  # the copy of the latest
        disk = sum(r.bytes or 0.0 for r in rounds) + weights + (plan.feature_bytes or 0)
    memory = None if plan.memory_bytes is None else plan.memory_bytes + (plan.activation_bytes or 0)
    money: dict[str, float] = {}
    if machine is not None and seconds is not None and machine.price_per_hour:
        money[machine.currency] = seconds / 3600 * machine.price_per_hour
    if hours and wage:
        money[currency] = money.get(currency, 0.0) + hours * wage
    room = room_here(libraries) if machine is None else Room(machine.memory_gib * GIB, machine.disk_gib * GIB)
    notes = [*plan.notes, *(() if model is None else model.notes)]
    if model is not None:
        notes.append(f"The probe's process used up to {model.peak_bytes / GIB:.2f} GiB of memory.")
    if model is not None and plan.prompts_per_round is not None:
        per_round = plan.prompts_per_round
        most = per_round if isinstance(per_round, int) else max(per_round)
        if most > model.most_prompts:
            notes.append(f"Seconds are extrapolated from a probe with up to {model.most_prompts} prompts to {most:,}.")
    if machine is not None and seconds is not None:
        notes.append("Seconds and money are a projection: nothing was measured on that machine.")
    return Estimate(
        plan=replace(plan, notes=tuple(notes)),
        source=_source(model, machine),
        device=model.device if model is not None else None if machine is None else "device",
        rounds=rounds,
        start_seconds=start,
        seconds=seconds,
        people_hours=hours,
        disk_bytes=disk,
        memory_bytes=memory,
        money=money,
        changes=remedies(found.recipe, plan, memory, disk, room),
    )


def _rounds(
    found: Findings,
    plan: Plan,
    work: Sequence[RoundWork] | None,
    model: CostModel | None,
    machine: MachineConfig | None,
) -> list[RoundCost]:
    if work is None or (model is None and machine is None):
        return []
    if machine is not None:
        return [RoundCost(w.round, seconds_on(machine, found.recipe, plan, w), None) for w in work]
    assert model is not None
    costs = []
    for w in work:
        left = {k: v for k, v in predicted(model.bytes, w).items() if k not in PASSING}
        seconds = predicted(model.seconds, w)
        if w.round == 0:
            seconds.pop("train", None)  # the initial weights are only written
        costs.append(RoundCost(w.round, seconds, sum(left.values())))
    return costs


def _people(found: Findings, plan: Plan, model: CostModel | None) -> tuple[float | None, float | None, str]:
    """Return the hours of the people who label, their wage if the recipe has it, and its currency."""
    recipe = found.recipe
    people = people_at_the_page(recipe)
    if people is None and recipe.annotator is not None:
        return 0.0, None, "USD"
    import numpy as np

    from duelist.annotators.reading_time import DEFAULT, expected_comparisons

    longest = recipe.sampler.setting("max_new_tokens")
    k, asks = found.sets_of, cast(QuestionType, recipe.pairing.setting("asks") or "pair")
    if model is not None and model.response_tokens:
        tokens = k * model.response_tokens + model.prompt_tokens
    elif longest is not None:
        tokens = k * float(longest) + PROMPT_TOKENS
    else:
        return None, None, "USD"
    each = float(DEFAULT.seconds(np.array([round(tokens)]), expected_comparisons(asks, k))[0])
    answers = 1.0
    if people is not None:
        answers = (1 - people.overlap_fraction) * people.labels + people.overlap_fraction * people.overlap_labels
    hours = plan.labels * answers * each / 3600
    return hours, None if people is None else people.hourly_wage, "USD" if people is None else people.currency


def _source(model: CostModel | None, machine: MachineConfig | None) -> str | None:
    if machine is not None:
        return f"the description of {machine.name}"
    return None if model is None else f"a probe of {model.machine} on {model.made}"


def estimate_rows(found: Estimate) -> dict[str, str]:
    """Return the estimate as text, for a table: the plan's rows, and those of its costs that are known."""
    rows = dict(plan_rows(found.plan))
    if found.people_hours:
        rows["people's hours"] = f"{found.people_hours:,.1f}"
    if found.seconds is not None and found.source is not None:
        unit = "CPU seconds" if found.device == "cpu" else "seconds"
        rows[f"{unit}, whole study"] = f"{found.seconds:,.0f}"
        later = [r for r in found.rounds if r.round > 0]
        for name, of_round in {"first": later[0], "second": later[min(1, len(later) - 1)], "last": later[-1]}.items():
            parts = ", ".join(f"{k} {v:,.1f}" for k, v in of_round.seconds.items() if v >= 0.05)
            rows[f"{unit}, {name} round"] = f"{sum(of_round.seconds.values()):,.1f} ({parts})"
        if found.start_seconds is not None:
            rows[f"{unit}, start"] = f"{found.start_seconds:,.1f}"
        rows["seconds are from"] = found.source
    if found.memory_bytes is not None:
        rows["memory with activations"] = f"{found.memory_bytes / GIB:.2f} GiB"
    if found.disk_bytes is not None:
        rows["disk"] = f"{found.disk_bytes / GIB:.2f} GiB"
        rounds = [r.bytes for r in found.rounds if r.round > 0 and r.bytes]
        if rounds:
            rows["disk, each round"] = f"{max(rounds) / 2**20:,.2f} MiB"
    rows |= {f"money, {currency}": f"{amount:,.2f}" for currency, amount in found.money.items()}
    return rows


def in_a_line(found: Estimate, name: str) -> str:
    """Return the estimate of the recipe `name` in a line: what is asked of people, of the machine and of the disk."""
    parts = [f"{found.plan.labels:,} labels"]
    if found.people_hours:
        parts.append(f"{found.people_hours:,.1f} hours of people's time")
    if found.seconds is not None:
        parts.append(f"{found.seconds:,.0f} {'CPU seconds' if found.device == 'cpu' else 'seconds'}")
    if found.disk_bytes is not None:
        parts.append(f"{found.disk_bytes / GIB:,.2f} GiB of disk")
    unknown = "" if found.seconds is not None else f" (`duelist plan {name} --probe` measures the seconds)"
    return ", ".join(parts) + unknown + "."
