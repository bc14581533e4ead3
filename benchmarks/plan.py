"""How well `duelist plan` predicts the CPU seconds and bytes of the next round, over shipped recipes.

OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/plan.py [--data FOLDER] [NAME ...]

For each recipe: a probe of at most a minute, then two to three rounds of the study itself in this process. Both are
measured in CPU seconds of this process, so other work on the machine hardly matters. Bytes are those of the round's
folder, and the growth of the database and of the files that grow with the labels. `ukp` needs its data.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from pathlib import Path

from duelist import Study, load_recipe
from duelist.preflight.cost_model import PASSING, CostModel, predicted
from duelist.preflight.probe import probe, record_bytes, size_on_disk
from duelist.preflight.work import work_of_rounds
from duelist.progress import Silent, quiet_libraries
from duelist.recipe.reading import WITHOUT_ARMS
from duelist.recipe.recipe import Recipe

RECIPES = {"quickstart": 3, "reward-quickstart": 3, "sampling": 2, "rlhf-quickstart": 2, "rankings": 3, "ukp": 3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(RECIPES), metavar="NAME")
    parser.add_argument("--data", help="folder with the data of `ukp`")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each probe")
    arguments = parser.parse_args()
    quiet_libraries()
    print("| recipe | probe, CPU s | round | predicted s | actual s | error | predicted KiB | actual KiB | error |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in arguments.names:
        if name == "ukp" and arguments.data is None:
            continue
        overrides = [f"prepare.settings.data={arguments.data}"] if name == "ukp" else []
        recipe = load_recipe(name, overrides).model_copy(update=WITHOUT_ARMS)
        began = time.process_time()
        model = probe(recipe, Silent(), arguments.seconds)
        show(name, recipe, model, time.process_time() - began)


def show(name: str, recipe: Recipe, model: CostModel, probed: float) -> None:
    """Print a line for each round that is run."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "study"
        at, kept = [], []

        def on_round(report: object) -> None:
            at.append(time.process_time())
            kept.append(record_bytes(folder))
            if len(at) == RECIPES[name]:
                raise KeyboardInterrupt

        with Study.create(folder, recipe) as study:
            work = work_of_rounds(study.recipe, study.stages.components.prompts)
            assert work is not None
            study.folder.clock = time.process_time
            with contextlib.suppress(KeyboardInterrupt):
                study.run(on_round=on_round)
            stages = study.store.stages()
        for i in range(1, len(at)):  # round 1 also loads what is loaded once
            t = i + 1
            in_seconds, in_bytes = predicted(model.seconds, work[t]), predicted(model.bytes, work[t])
            left = sum(size_on_disk(folder / s.artifact) for s in stages if s.round == t and s.name not in PASSING)
            actual = (at[i] - at[i - 1], left + kept[i] - kept[i - 1])
            told = (sum(in_seconds.values()), sum(v for k, v in in_bytes.items() if k not in PASSING))
            error = [f"{100 * (p / a - 1):+.0f} %" for p, a in zip(told, actual, strict=True)]
            print(
                f"| {name if i == 1 else ''} | {f'{probed:.0f}' if i == 1 else ''} | {t} | {told[0]:.2f} "
                f"| {actual[0]:.2f} | {error[0]} | {told[1] / 1024:.0f} | {actual[1] / 1024:.0f} | {error[1]} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
