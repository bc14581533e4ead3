"""How often the suite calls random different from random: comparisons drawn from a bank of real studies.

    python benchmarks/null_comparisons.py DIR --data FOLDER               # resumable; UKP's votes
    python benchmarks/null_comparisons.py DIR --data FOLDER --set rounds=5
    python benchmarks/null_comparisons.py DIR --world equal --runs 40     # an embedded world, in shorter studies

Two arms of a world, random and random on a second stream, run once per seed: the bank. A comparison draws `--seeds`
seeds from it with replacement, and calls the arms different if the suite's 95 % interval of the difference in area
excludes 0. Of 200 comparisons at 5 %, 10 are expected. Comparisons of one bank are not independent: if the two streams
differ by luck in the bank, many see it. So the count is made again with the two runs of a seed swapped by a coin, which
tests the interval alone.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from rich.console import Console

from duelist.cli.console import TerminalProgress
from duelist.compare.arms import ArmSettings, plan_studies
from duelist.compare.comparison import finished_rows, run_comparison
from duelist.compare.curves import Rows
from duelist.progress import quiet_libraries
from duelist.seeding import generator
from duelist.suite.plan import AGAIN, PLAIN, RANDOM, quick_changes, random_stream
from duelist.suite.record import here
from duelist.suite.statistics import share_of_unit
from duelist.suite.summary import area_differences, matched
from duelist.suite.worlds import with_data, worlds

ALLOWED = 18  # of 200


def main() -> None:
    """Run the bank, and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--world", default="ukp")
    parser.add_argument("--data", help="folder with the files of a data set")
    parser.add_argument("--runs", type=int, default=200, help="studies of each arm")
    parser.add_argument("--comparisons", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=20, help="seeds of a comparison")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="a.b=c")
    parser.add_argument("--jobs", type=int)
    options = parser.parse_args()
    quiet_libraries()
    (world,) = with_data(worlds([options.world]), [f"{options.world}={options.data}"] if options.data else [])
    if world.absent is not None:
        raise SystemExit(f"The world {world.name} cannot run: {world.absent}.")
    changes = [*world.changes, *(quick_changes(world) if world.embedded else ()), *options.changes]
    studies = []
    for seed in range(options.runs):
        arms = [ArmSettings(RANDOM, (PLAIN,)), ArmSettings(AGAIN, (random_stream(seed, 0),))]
        studies += plan_studies(options.folder, world.recipe, changes, arms, [seed])
    failures = run_comparison(options.folder, studies, options.jobs, TerminalProgress(Console(stderr=True)))
    if failures:
        raise SystemExit(f"{len(failures)} studies failed; the first, {failures[0].study.folder}: {failures[0].error}")

    rows, first = finished_rows(studies), studies[0].recipe.initial_random
    print(shlex.join(["python", "benchmarks/null_comparisons.py", *sys.argv[1:]]))
    print(here())
    print(f"{world.name}, {world.metric}; {options.runs} runs an arm; {', '.join(changes)}")
    for swap in (False, True):
        different = count_different(rows, world.metric, first, options.comparisons, options.seeds, swap)
        print(
            f"random on a second stream{', runs of a seed swapped by a coin,' if swap else ''} is called different in "
            f"{different} of {options.comparisons} comparisons of {options.seeds} seeds (allowed: {ALLOWED} of 200)"
        )


def count_different(rows: Rows, metric: str, first: int, comparisons: int, seeds: int, swap: bool) -> int:
    """Return in how many comparisons drawn from a bank the suite calls its two arms different.

    Args:
        rows: the bank, by arm and seed.
        metric: the metric.
        first: labels of the first batch.
        comparisons: number of comparisons.
        seeds: seeds of a comparison, drawn with replacement: one that is drawn twice counts twice.
        swap: whether a coin says which of a seed's two runs is called random.
    """
    rng = generator(0, "null comparisons")
    runs = sorted(set(rows[RANDOM]) & set(rows[AGAIN]))
    different = 0
    for _ in range(comparisons):
        drawn = [runs[i] for i in rng.integers(len(runs), size=seeds)]
        coin = rng.integers(2, size=seeds).tolist() if swap else [0] * seeds
        sample = {
            arm: {i: rows[(RANDOM, AGAIN)[(k + coin[i]) % 2]][seed] for i, seed in enumerate(drawn)}
            for k, arm in enumerate((RANDOM, AGAIN))
        }
        curves = matched(sample, AGAIN, metric, "labels")
        assert curves is not None  # all seeds have both arms
        area = share_of_unit(area_differences(curves, first))
        assert area is not None  # more than one seed
        different += not area.low <= 0 <= area.high
    return different


if __name__ == "__main__":
    main()
