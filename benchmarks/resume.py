"""Kill a study with -9 at random moments, resume it, and compare with an undisturbed run.

    python benchmarks/resume.py [--recipe quickstart] [--kills 10] [--seed 0] [--set rounds=2]

Every run is the `duelist run` command in a process of its own. What is compared, for the study and for each arm beside
it: the pairs asked, in order, with scores and margins; the labels; the metrics, times apart; preferences.jsonl; and the
adapter's weights after every round. Prints a table; the exit code is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from duelist.store.store import Store

COMMAND = [sys.executable, "-c", "from duelist.cli.app import main; main()"]


def main() -> int:
    """Run the benchmark; 1 if a resumed study differs from the undisturbed one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="quickstart", help="a recipe file, or a shipped recipe's name")
    parser.add_argument("--kills", type=int, default=10, help="how many studies are killed, each once")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="change a key of the recipe")
    parser.add_argument("--folder", type=Path, help="keep the studies here; by default they are thrown away")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="duelist-resume-") as scratch:
        return compare(arguments, arguments.folder or Path(scratch))


def compare(arguments: argparse.Namespace, place: Path) -> int:
    """Run undisturbed, then with kills, and print what came of each."""
    overrides = [word for override in arguments.set for word in ("--set", override)]

    def start(study: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*COMMAND, "run", arguments.recipe, "--study", str(study), "--quiet", *overrides])

    # What the recipe prepares and caches is made by the run before, so that the moments fall within the study itself.
    finish(start(place / "first"))
    began = time.monotonic()
    finish(start(place / "undisturbed"))
    duration = time.monotonic() - began
    expected = results(place / "undisturbed")
    again = differences(results(place / "first"), expected)
    print(f"{arguments.recipe}: {duration:.1f} s undisturbed; a second run of it: {', '.join(again) or 'equal'}\n")

    moments = random.Random(arguments.seed)
    failed = len(again)
    print(f"{'kill':>4}  {'after s':>8}  {'last artifact':48}  {'resumed s':>9}  result")
    for kill in range(1, arguments.kills + 1):
        after = None
        while after is None:  # a run that was done by then is no kill: draw another moment
            study = place / f"killed-{kill}"
            shutil.rmtree(study, ignore_errors=True)
            after = kill_at(start(study), moments.uniform(0, duration))
        last = last_artifact(study)
        began = time.monotonic()
        finish(start(study))
        resumed = time.monotonic() - began
        found = differences(results(study), expected)
        failed += len(found)
        print(f"{kill:4}  {after:8.1f}  {last:48}  {resumed:9.1f}  {', '.join(found) or 'equal'}", flush=True)
    print(f"\n{failed} differences in {arguments.kills} killed studies")
    return 1 if failed else 0


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for a run to end well."""
    if process.wait() != 0:
        sys.exit(
            f"`duelist run` must end with exit code 0, but ended with {process.returncode}: see its message above."
        )


def kill_at(process: subprocess.Popen[bytes], seconds: float) -> float | None:
    """Kill a run after so many seconds, and return them; None if it was done by then."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return seconds if process.wait() == -signal.SIGKILL else None
    return None


def last_artifact(study: Path) -> str:
    """What a killed run had written last, of all rounds of the study and of its arms."""
    artifacts = [p for p in study.rglob("*") if p.parent.parent.name == "rounds" and not p.name.startswith(".")]
    last = max(artifacts, key=lambda p: p.stat().st_mtime_ns, default=None)
    return "" if last is None else str(last.relative_to(study))


def results(study: Path) -> dict[str, Any]:
    """What must be equal, by name, of a study and of the arms beside it."""
    found: dict[str, Any] = {}
    for folder in sorted(p.parent for p in study.rglob("study.db")):
        name = folder.relative_to(study).as_posix()
        store = Store(folder, migrate=False)
        found[f"{name}: pairs asked"] = store.asked()
        found[f"{name}: labels"] = store.labels()
        store.close()
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        found[f"{name}: metrics"] = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
        found[f"{name}: preferences"] = (folder / "preferences.jsonl").read_bytes()
        for path in [folder / "adapter", *sorted(folder.glob("rounds/*/adapter"))]:
            weights = path / "adapter_model.safetensors"
            found[f"{name}: {weights.relative_to(folder)}"] = weights.read_bytes()
    return found


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """The names of what differs or is missing."""
    return [name for name in sorted({*found, *expected}) if found.get(name) != expected.get(name)]


if __name__ == "__main__":
    sys.exit(main())
