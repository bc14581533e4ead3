"""Probe of a recipe's costs: small studies of the recipe itself, of growing size, each stage timed (docs/plan.md)."""

from __future__ import annotations

import math
import sqlite3
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from duelist.errors import BudgetError, RecipeError
from duelist.preflight.cost_model import BYTES_IN, PASSING, SECONDS_IN, CostModel, Observed, fitted, predicted
from duelist.preflight.pool import prompts_in_rounds
from duelist.preflight.probe_cache import machine_name
from duelist.preflight.work import GENERATIONS, REST, RL, of_step, work_of_rounds
from duelist.progress import Progress, Silent
from duelist.recipe.reading import WITHOUT_ARMS, saved_recipe
from duelist.recipe.recipe import Recipe, recipe_content
from duelist.store.layout import DATABASE, METRICS, PREFERENCES

SECONDS = 60.0  # of CPU time on a CPU, else of time, after which no further study is begun
FEWEST = 2  # prompts of the first study, whose stages also load what is loaded once
GROWTH = 3  # prompts of each study relative to the one before it
ROUNDS = 2
# Annotators that run here, for nothing. Any other is replaced: it may be a person, or cost money.
LOCAL = ("reward_function", "reward_model", "dataset_labels")


@dataclass(frozen=True)
class Size:
    """Size of one study of a probe.

    Attributes:
        prompts: number of prompts that get responses each round.
        held_out: number of held-out prompts.
        budget: questions asked per round.
    """

    prompts: int
    held_out: int
    budget: int


def probe(recipe: Recipe, progress: Progress, seconds: float = SECONDS) -> CostModel:
    """Measure what a recipe's stages cost on this machine, by studies of it with few prompts. Nothing of them is kept.

    The first study also loads the libraries and models; if there was time for others, it only tells what that costs.
    What the recipe prepares is prepared first, if it has not been, which is not counted in `seconds`.

    Args:
        recipe: the recipe.
        progress: told of each study.
        seconds: no further study begins if it would probably end after this time.

    Raises:
        BudgetError: if no study is large enough for a question in each of two rounds.
        DuelistError: if the recipe cannot run.
    """
    from duelist.models.policy.loading import device_of
    from duelist.study.components import StudyComponents, prepared

    ready = prepared(recipe, progress)
    prompts = StudyComponents(ready).prompts
    whole = prompts_in_rounds(ready, prompts)
    assert whole is not None  # the prompts are known
    device = "cpu" if ready.policy is None else device_of(ready.policy.device).type
    clock = time.process_time if device == "cpu" else time.perf_counter
    notes: list[str] = []
    begun, all_of_them, last = clock(), list[tuple[Size, _Studied]](), 0.0
    lengths = (0.0, 0.0)
    with tempfile.TemporaryDirectory(prefix="duelist-probe-") as scratch, progress.stage("Probing", 1) as advance:
        for size in sizes(max(whole), len(prompts.held_out), ready.budget, fewest_decisions(ready)):
            if all_of_them and clock() - begun + GROWTH * last > seconds:
                break
            at = clock()
            try:
                small = shrunk(ready, size, notes)
                studied = _studied(small, Path(scratch) / f"{size.prompts}", clock)
            except BudgetError:
                continue  # too few different responses for the questions: the next size has more
            last = clock() - at
            lengths = studied.lengths or lengths
            all_of_them.append((size, studied))
        advance(1)
    if not all_of_them:
        raise BudgetError(
            f"A probe needs prompts with two questions or more, but {ready.prompts.path} has too few for any: add "
            "prompts or responses per prompt."
        )
    warm = all_of_them[1:] or all_of_them
    rows = [row for _, studied in warm for row in studied.rounds]
    of_seconds = fitted([(row.work, row.seconds) for row in rows], SECONDS_IN)
    of_bytes = fitted([(row.work, row.bytes) for row in rows], BYTES_IN)
    first = all_of_them[0][1]
    known = sum(sum(predicted(of_seconds, row.work).values()) for row in first.rounds)
    if len(all_of_them) == 1:
        notes.append("There was time for one small study only: its costs include what is loaded once.")
    return CostModel(
        seconds=of_seconds,
        bytes=of_bytes,
        start_seconds=max(first.seconds - known, 0.0),
        device=device,
        machine=machine_name(),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        prompt_tokens=lengths[0],
        response_tokens=lengths[1],
        peak_bytes=_peak_bytes(device),
        most_prompts=warm[-1][0].prompts,
        notes=tuple(dict.fromkeys(notes)),
    )


def sizes(prompts: int, held_out: int, budget: int, fewest: int = 1) -> list[Size]:
    """Return the sizes of the studies, from the smallest to at most the recipe's own.

    The small ones ask half of their share of the budget, so that equal responses leave enough questions; but at least
    the `fewest` that a round can be trained on.
    """
    found, n = [], FEWEST
    while True:
        n = min(n, prompts)
        share = n / prompts
        aside = min(held_out, max(1, round(held_out * share)))
        asked = budget if n == prompts else min(max(fewest, round(budget * share / 2)), budget)
        found.append(Size(n, aside, asked))
        if n == prompts:
            return found
        n *= GROWTH


def fewest_decisions(recipe: Recipe) -> int:
    """Return how many decisions a round needs: RL by TRL needs as many prompts as fill one of its batches."""
    fewest = 1
    for settings in recipe.trainer.build().trl_settings:
        if settings.config in RL:
            fewest = max(fewest, math.ceil(of_step(settings) / int(settings.train.get("num_generations", GENERATIONS))))
    return fewest


def shrunk(recipe: Recipe, size: Size, notes: list[str]) -> Recipe:
    """Return a recipe of two rounds with fewer prompts and questions, labelled at no cost; add notes of what differs.

    Raises:
        RecipeError: if the recipe cannot do without what is replaced.
    """
    content = recipe_content(recipe)
    content |= {
        **WITHOUT_ARMS, "rounds": ROUNDS, "budget": size.budget, "schedule": "constant", "prepare": None, "stop": None,
        "initial_random": 0, "initial": None, "known": None, "report_to": [], "control_fraction": 0.0, "lookahead": 0,
        "checkpoint_every": 1 if recipe.online else None,
    }  # fmt: skip
    content["prompts"] |= {"limit": size.prompts, "per_round": None, "held_out": size.held_out}
    content["evaluation"] |= {"every": 1}
    annotator = recipe.annotator
    if annotator is None or annotator.name not in LOCAL:
        content["annotator"] = {"name": "reward_function", "function": f"{__name__}:coin"}
        notes.append("The probe's labels are made up: the time and money of whoever labels are not measured.")
    if recipe.evaluation.judge is not None:
        content["evaluation"]["judge"] = None
        notes.append("The probe runs without `evaluation.judge`.")
    if recipe.judged_pool is not None:
        content["judged_pool"] = None
        content["trainer"].pop("judge", None)
        notes.append("The probe runs without `judged_pool`.")
    return saved_recipe(content)


def coin(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
    """Return a made-up reward of each completion, the same whenever it is asked for."""
    return [zlib.crc32(repr(completion).encode()) / 2**32 for completion in completions]


@dataclass(frozen=True)
class _Studied:
    """What one study of the probe cost: in all, and its rounds; mean tokens of prompts and responses, if known."""

    seconds: float
    rounds: list[Observed]
    lengths: tuple[float, float] | None


def _studied(recipe: Recipe, folder: Path, clock: Callable[[], float]) -> _Studied:
    from duelist.study.study import Study

    begun = clock()
    with Study.create(folder, recipe, Silent()) as study:
        study.folder.clock = clock
        work = work_of_rounds(study.recipe, study.stages.components.prompts)
        if work is None:
            raise RecipeError(
                f"A probe counts the work of each round, but the pairing {recipe.pairing.name} does not say how many "
                "questions it makes: give it `most_pairs`."
            )
        at, kept = [clock()], [record_bytes(folder)]

        def on_round(report: object) -> None:
            kept.append(record_bytes(folder))
            at.append(clock())

        study.run(on_round=on_round)
        questions = [x.question for x in study.store.asked()]
        stages = study.store.stages()
    seconds: list[dict[str, float]] = [{} for _ in work]
    left: list[dict[str, float]] = [{} for _ in work]
    for stage in stages:
        seconds[stage.round][stage.name] = stage.seconds
        if stage.name not in PASSING:
            left[stage.round][stage.name] = size_on_disk(folder / stage.artifact)
    seconds[0].pop("train", None)  # it loads the model
    for t in range(1, len(work)):
        left[t][REST] = float(kept[t] - kept[t - 1])
        if t > 1:  # round 1 also loads what the study needs once
            seconds[t][REST] = max(at[t] - at[t - 1] - sum(seconds[t].values()), 0.0)
    rounds = [Observed(*row) for row in zip(work, seconds, left, strict=True)]
    responses = [r for q in questions for r in q.responses if r.token_ids]
    lengths = None
    if responses:
        n = len(responses)
        lengths = (sum(len(r.prompt_token_ids) for r in responses) / n, sum(len(r.token_ids) for r in responses) / n)
    return _Studied(clock() - begun, rounds, lengths)


def record_bytes(folder: Path) -> int:
    """Return the bytes of a study's record: the database's pages in use, and the files that grow with the labels.

    The file of a new database has unused pages, so it grows only later.
    """
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        names = ("page_count", "freelist_count", "page_size")
        pages, unused, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    return int((pages - unused) * size) + sum(size_on_disk(folder / name) for name in (METRICS, PREFERENCES))


def size_on_disk(path: Path) -> int:
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size if path.is_file() else 0


def _peak_bytes(device: str) -> int:
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_reserved())
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
