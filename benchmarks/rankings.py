"""What people's effort buys with pairs, rankings, and best-and-worst: efforts to the end of random pairs.

Runs the arms of docs/evidence.md (rankings) as a comparison, and reads its metrics.jsonl: the effort at which each
arm's mean curve first reaches what random pairs reach at their end, counted in questions, in responses read, and in
seconds under the model of reading time, for responses of the environment's own length and of 200 tokens. The
break-even is the number of seconds that one comparison within a ranking may take before the arm needs as long as chosen
pairs. Nobody was timed.

    python benchmarks/rankings.py DIR --seeds 0:20
    python benchmarks/rankings.py DIR2 --seeds 0:20 --place-noise 0.5 --pairs-from DIR

With `--place-noise`, people's noise grows with each place of a ranking. Pairs are answered as without, so their studies
are read from the first folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import t

from duelist.annotators.reading_time import DEFAULT
from duelist.compare.arms import parse_seeds
from duelist.compare.curves import Rows, read_rows
from duelist.compare.tables import curves_csv
from duelist.store.artifacts import write_text

# arm: responses in a question, what is asked, questions a round (32 responses read, as nearly as k allows)
QUESTIONS = {
    "pairs": (2, "ranking", 16),
    "rank3": (3, "ranking", 11),
    "rank4": (4, "ranking", 8),
    "rank6": (6, "ranking", 5),
    "bw4": (4, "best_worst", 8),
    "bw4-fair": (4, "best_worst", 8),
}
# Best-and-worst by the joint softmax is sigma(2 margin / T) at two responses: less noise than pairs have at the same
# temperature. The fair arm doubles it, so that two responses are compared as a pair is.
FAIR_TEMPERATURE = 0.25
RULES = ("random", "activedpo")
PROMPT_TOKENS, RESPONSE_TOKENS = 50, 200  # of a question that people would be asked
METRICS = {"mean_reward_over_groups": "per kind", "mean_reward_weighted": "by frequency"}


def arms(place_noise: float, pairs_elsewhere: bool) -> list[str]:
    """Return the `--arm` options."""
    found = []
    for rule in RULES:
        for name, (k, asks, budget) in QUESTIONS.items():
            if rule == "random" and name not in ("pairs", "rank4"):
                continue  # one random ranking shows what the answers alone bring
            if place_noise and not (rule == "activedpo" and name.startswith("rank")):
                continue
            if pairs_elsewhere and name == "pairs":
                continue
            sizes = f"pairing.sets_of={k},pairing.asks={asks},budget={budget},initial_random={budget}"
            # As many optimizer steps a round as pairs take: a batch is a round's questions.
            sizes += f",trainer.train.per_device_train_batch_size={budget}"
            if name.endswith("fair"):
                sizes += f",annotator.temperature={FAIR_TEMPERATURE}"
            for scales in ("fitted", "equal") if place_noise else ("fitted",):
                own = f"acquisition={rule},{sizes}" + (",trainer.stage_scales=equal" if scales == "equal" else "")
                found.append(f"{rule}-{name}{'-equal' if scales == 'equal' else ''}:{own}")
    return found


def first_at(effort: np.ndarray, value: np.ndarray, target: float) -> float:
    """Return where a curve, linear between measurements, first is at the target; NaN if it never is."""
    at = np.flatnonzero(value >= target)
    if not len(at):
        return np.nan
    i = int(at[0])
    if i == 0:
        return float(effort[0])
    share = (target - value[i - 1]) / (value[i] - value[i - 1])
    return float(effort[i - 1] + share * (effort[i] - effort[i - 1]))


@dataclass(frozen=True)
class Effort:
    """What an arm needs until its mean curve is where random pairs end; NaN: it never is.

    Attributes:
        end: its own mean at the end.
        more: mean of its end − that of random pairs on the same seeds; None for random pairs.
        half_width: of the 95 % t-interval of `more`.
        questions: number of questions.
        responses: number of responses read.
        own_seconds: seconds under the model of reading time, for responses of the environment's own length.
        seconds: the same, for responses of 200 tokens.
        break_even: seconds that a comparison within a ranking may take before chosen pairs are faster; NaN for pairs.
    """

    end: float
    more: float | None
    half_width: float
    questions: float
    responses: float
    own_seconds: float
    seconds: float
    break_even: float


def efforts(rows: Rows, metric: str) -> dict[str, Effort]:
    """Return each arm's efforts, over the seeds that every arm has."""
    shared = sorted(set.intersection(*(set(own) for own in rows.values())))
    curve_AE = {a: np.array([[r[metric] for r in own[s]] for s in shared]).mean(axis=0) for a, own in rows.items()}
    seconds_AE = {
        a: np.array([[r["annotation_seconds"] for r in own[s]] for s in shared]).mean(axis=0) for a, own in rows.items()
    }
    counts = {
        a: {n: np.array([r[n] for r in own[shared[0]]]) for n in ("asked", "responses", "comparisons")}
        for a, own in rows.items()
    }
    target = curve_AE["random-pairs"][-1]
    base_S = np.array([rows["random-pairs"][s][-1][metric] for s in shared])
    pairs_end = first_at(_long(counts["activedpo-pairs"]), curve_AE["activedpo-pairs"], target)
    found = {}
    for arm, curve_E in curve_AE.items():
        more_S = np.array([rows[arm][s][-1][metric] for s in shared]) - base_S
        n = len(more_S)
        half = float(t.ppf(0.975, n - 1) * more_S.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
        q, r, c = (first_at(counts[arm][x], curve_E, target) for x in ("asked", "responses", "comparisons"))
        fixed = DEFAULT.constant * q + DEFAULT.rate * (RESPONSE_TOKENS * r + PROMPT_TOKENS * q)
        found[arm] = Effort(
            end=float(curve_E[-1]),
            more=None if arm == "random-pairs" else float(more_S.mean()),
            half_width=half,
            questions=q,
            responses=r,
            own_seconds=first_at(seconds_AE[arm], curve_E, target),
            seconds=first_at(_long(counts[arm]), curve_E, target),
            break_even=np.nan if "pairs" in arm else (pairs_end - fixed) / c,
        )
    return found


def _long(counts: dict[str, np.ndarray]) -> np.ndarray:
    """Return the seconds that questions with responses of 200 tokens take."""
    tokens = RESPONSE_TOKENS * counts["responses"] + PROMPT_TOKENS * counts["asked"]
    return DEFAULT.constant * counts["asked"] + DEFAULT.decision * counts["comparisons"] + DEFAULT.rate * tokens


def report(places: dict[str, Path], seeds: list[int]) -> None:
    """Write curves.csv into the folder of the last arm, and print a table for each metric."""
    rows = {
        arm: {s: r for s in seeds if len(r := read_rows(folder / "studies" / arm / f"seed-{s:03d}")) > 8}
        for arm, folder in places.items()
    }
    write_text([*places.values()][-1] / "curves.csv", curves_csv(rows))
    for metric, words in METRICS.items():
        found = efforts(rows, metric)
        print(f"\n{words}: random pairs end at {found['random-pairs'].end:.4f}; effort to it\n")
        print("| arm | end − random pairs | questions | responses | seconds, own length | seconds, 200 tokens "
              "| break-even s a comparison |")  # fmt: skip
        print("|:--|--:|--:|--:|--:|--:|--:|")
        for arm, e in found.items():
            more = "–" if e.more is None else f"{e.more:+.4f} ± {e.half_width:.4f}"
            numbers = (e.questions, e.responses, e.own_seconds, e.seconds)
            shown = " | ".join("never" if np.isnan(x) else f"{x:.0f}" for x in numbers)
            print(f"| {arm} | {more} | {shown} | {'–' if np.isnan(e.break_even) else f'{e.break_even:.1f}'} |")


def main() -> None:
    """Run the comparison, then print the tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--seeds", default="0:20")
    options.add_argument("--place-noise", type=float, default=0.0)
    options.add_argument("--jobs", type=int, default=2)
    options.add_argument("--pairs-from", type=Path, help="folder of the comparison without place noise")
    options.add_argument("--report-only", action="store_true")
    given = options.parse_args()
    own = arms(given.place_noise, given.pairs_from is not None)
    if not given.report_only:
        command = [sys.executable, "-m", "duelist", "compare", "rankings", "--seeds", given.seeds]
        command += ["-o", str(given.folder), "--jobs", str(given.jobs), "--over", "responses"]
        command += ["--set", f"annotator.place_noise={given.place_noise}"]
        subprocess.run([*command, *(x for arm in own for x in ("--arm", arm))], check=True)
    pairs = ["random-pairs", "activedpo-pairs"] if given.pairs_from else []
    places = dict.fromkeys(pairs, given.pairs_from) | {arm.partition(":")[0]: given.folder for arm in own}
    report(places, parse_seeds(given.seeds))


if __name__ == "__main__":
    main()
