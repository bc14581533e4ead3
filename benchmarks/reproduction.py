"""The papers' claims, run in small and judged by paired intervals: docs/reproduction.md from result files.

`reproduction.yaml` says what runs (comparisons), what is claimed (contrasts of arms) and what was scaled down. A
verdict is computed from the 95 % interval of the paired difference over seeds; nothing here is written by hand.

    nice python benchmarks/reproduction.py run -o DIR --seeds 0:8 --jobs 2      # again to resume
    python benchmarks/reproduction.py report DIR -o docs/reproduction.md --keep docs/evidence/reproduction
    python benchmarks/reproduction.py report docs/evidence/reproduction -o docs/reproduction.md
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from duelist._version import __version__
from duelist.compare.arms import parse_seeds
from duelist.compare.comparison import run_comparison
from duelist.compare.curves import Rows, described
from duelist.compare.results import write_results
from duelist.compare.running import Outcome
from duelist.compare.statistics import FEWEST_SEEDS
from duelist.progress import Silent
from duelist.store.artifacts import write_json, write_text
from duelist.suite.record import CURVES, libraries, machine, read_curves
from duelist.suite.report import markdown_table
from reproduction_claims import RELEVANT, Claim, Claims, Judged, judge, overall, read_claims

RECORD = "reproduction.json"
NOTHING = "–"
STATISTICS = {"area": "mean height of the learning curve", "end": "last value"}
READING = f"""\
## How to read it

- Arms of a seed share the world, the start, the prompts and the annotator. Every difference is paired by seed, with its
  95 % t-interval, and signed so that above 0 the first arm is better, whichever way the metric counts.
- **A relevant difference** is {RELEVANT:.0%} of the second arm's way from the start, by the same statistic.
- "Better" is *reproduced* if the whole interval is above 0, and *not reproduced* if it is below a relevant difference.
  "Makes no difference" is *reproduced* if the whole interval is within a relevant difference, and *not reproduced* if
  it is outside. Everything else, and anything with fewer than {FEWEST_SEEDS} seeds, *cannot be told here*.
- The first metric decides. A claim of several contrasts is reproduced if each is, which needs no correction. It is not
  reproduced as soon as one is not, and for that the intervals are widened by Bonferroni's correction. The ± shown is
  not widened; "not reproduced" and its reason use the wider interval.
- Nothing here is a verdict on the papers at their own size: models, data and budgets are as small as said below.
"""

Contrast = tuple[str, tuple[str, str], Judged]  # metric, arms, and what is found


def run(folder: Path, seeds: str, jobs: int | None, only: Sequence[str]) -> int:
    """Run the unfinished studies, and write each comparison's results and the record; return the number of failures."""
    claims = read_claims()
    wanted = {name: c for name, c in claims.comparisons.items() if not only or name in only}
    studies = {name: c.studies(folder / name, parse_seeds(seeds)) for name, c in wanted.items()}

    def note(outcome: Outcome) -> None:
        done = "failed" if outcome.error else "done"
        print(f"{outcome.study.folder.relative_to(folder)}: {done} after {outcome.seconds:.0f} s", flush=True)

    folder.mkdir(parents=True, exist_ok=True)
    command = f"python benchmarks/reproduction.py run -o DIR --seeds {seeds}"
    record = {"command": command, "seeds": seeds, "version": __version__, "machine": machine()}
    write_json(folder / RECORD, {**record, "libraries": libraries()})
    failures = run_comparison(folder, [s for own in studies.values() for s in own], jobs, Silent(), note)
    for name, own in studies.items():
        metrics = [m for claim in claims.claims if claim.comparison == name for m in claim.metrics]
        failed = [f for f in failures if f.study.folder.is_relative_to(folder / name)]
        write_results(folder / name, own, list(dict.fromkeys(metrics)), failed)
    return len(failures)


def report(folder: Path) -> str:
    """Return the page in Markdown. The same files give the same text."""
    claims, file = read_claims(), folder / RECORD
    record = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    rows = {name: read_curves(folder / name / CURVES) for name in claims.comparisons}
    found = [(claim, contrasts(claim, rows[claim.comparison])) for claim in claims.claims]
    overview = [
        [
            short(claims, claim.paper),
            claim.figure,
            claim.says,
            f"`{claim.metrics[0]}`",
            f"**{_verdict_of(claim, own)}**",
        ]
        for claim, own in found
    ]
    lines = ["# The papers' claims, in small: reproduced or not", "", *_head(record), ""]
    lines += [*markdown_table([["paper", "figure", "claim", "decided by", "verdict"], *overview]), "", READING]
    for paper, title in claims.papers.items():
        own_claims = [(claim, own) for claim, own in found if claim.paper == paper]
        lines += [f"## {title}", ""]
        for claim, own in own_claims:
            lines += [*_claim(claim, own), ""]
        lines += ["### What ran", ""]
        for name in dict.fromkeys(claim.comparison for claim, _ in own_claims):
            comparison = claims.comparisons[name]
            command = comparison.command(name, "0:8" if record is None else record["seeds"])
            lines += [f"`{name}`. {comparison.scaled_down.strip()}", "", "```sh", command, "```", ""]
    rest = [[short(claims, x.paper), x.figure, x.why, f"`{x.command.strip()}`"] for x in claims.not_run]
    lines += ["## Not run", "", "Figures that have a command, and no result here.", ""]
    return "\n".join([*lines, *markdown_table([["paper", "figure", "why", "command"], *rest])]) + "\n"


def contrasts(claim: Claim, rows: Rows) -> list[Contrast]:
    """Return every contrast of a claim, in each of its metrics."""
    return [
        (metric, arms, judge(rows, metric, claim.statistic, arms, claim.expects, len(claim.contrasts)))
        for metric in claim.metrics
        for arms in claim.contrasts
    ]


def keep(folder: Path, target: Path) -> None:
    """Copy what the report is made from."""
    for file in [folder / RECORD, *sorted(folder.glob(f"*/{CURVES}"))]:
        copy = target / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)


def short(claims: Claims, paper: str) -> str:
    """Return a paper's name without its authors."""
    return claims.papers[paper].partition(" (")[0]


def _verdict_of(claim: Claim, found: Sequence[Contrast]) -> str:
    return overall([judged.verdict for metric, _, judged in found if metric == claim.metrics[0]])


def _head(record: Mapping[str, Any] | None) -> list[str]:
    lines = ["Made by `python benchmarks/reproduction.py report` from result files. Do not edit."]
    if record is None:
        return [*lines, "", "**Nothing was run yet.**"]
    versions = ", ".join(f"{name} {version}" for name, version in record["libraries"].items())
    ran = f"Seeds {record['seeds']}. Duelist {record['version']}, {versions}; {record['machine']}."
    return [*lines, "", "```sh", record["command"], "```", "", ran]


def _claim(claim: Claim, found: Sequence[Contrast]) -> list[str]:
    lines = [f"### {claim.figure}: {claim.says}", ""]
    lines += [f"**{_verdict_of(claim, found).capitalize()}.** {STATISTICS[claim.statistic].capitalize()}.", ""]
    table = [["contrast", "metric", "seeds", "difference", "better on", "relevant", "verdict", "why"]]
    for metric, (first, second), x in found:
        digits = described(metric).digits
        shown, sign = [NOTHING] * 4, "−" if claim.expects == "better" else "≈"
        if x.difference is not None:
            width = x.difference.half_width
            around = "" if width is None or x.difference.seeds < FEWEST_SEEDS else f" ± {width:.{digits}f}"
            seeds, note = str(x.difference.seeds), NOTHING if x.relevant is None else f"{x.relevant:.{digits}f}"
            shown = [seeds, f"{x.difference.mean:+.{digits}f}{around}", f"{x.wins} of {seeds}", note]
        table.append([f"{first} {sign} {second}", f"`{metric}`", *shown, x.verdict, x.why])
    return [*lines, *markdown_table(table)]


def main() -> int:
    """Run the comparisons, or write the page."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = options.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="run the unfinished studies")
    running.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    running.add_argument("--seeds", default="0:8")
    running.add_argument("--jobs", type=int, default=None)
    running.add_argument("--only", nargs="*", default=[], metavar="NAME", choices=list(read_claims().comparisons))
    writing = commands.add_parser("report", help="write the page from result files")
    writing.add_argument("folder", type=Path)
    writing.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    writing.add_argument("--keep", type=Path, metavar="DIR", help="also copy the result files there")
    given = options.parse_args()
    if given.command == "run":
        return min(1, run(given.output, given.seeds, given.jobs, given.only))
    write_text(given.output, report(given.folder))
    if given.keep is not None:
        keep(given.folder, given.keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
