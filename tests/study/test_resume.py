"""A study that is killed with -9, anywhere and any number of times, ends as one that was never disturbed."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from killing import KINDS, in_process, moments_of, run_study, run_study_saving_every_batch, shown_log, tell_half_and_die
from outcomes import lines, outcome, require_equal, smaller


@dataclass
class Example:
    """A recipe, and the folder of an undisturbed run of it."""

    recipe: dict[str, Any]
    undisturbed: Path

    def moments(self, kind: str) -> list[str]:
        return moments_of(self.undisturbed, kind)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, dict[str, Any]], Example]:
    """Makes an example's undisturbed run when it is first asked for."""
    made: dict[str, Example] = {}
    preparation = tmp_path_factory.mktemp("prepare") / "preparation.py"
    preparation.write_text(
        "import shutil\n\ndef copy(folder, source):\n    shutil.copy(source, folder / 'prompts.jsonl')\n",
        encoding="utf-8",
    )

    def example(name: str, tiny_recipe: dict[str, Any]) -> Example:
        if name not in made:
            recipe = smaller(tiny_recipe)
            if name == "regenerate":
                known = tmp_path_factory.mktemp("known") / "known.jsonl"
                texts = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
                rows = (
                    {k: [{"role": role, "content": f"w{len(k)} w{38 + i}"}] for k, role in texts.items()}
                    for i in range(2)
                )
                known.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
                recipe["known"] = {"path": str(known)}
            if name == "fixed":
                trainer = {"accumulate": "round", "restart": "from_reference", "reference": "previous"}
                recipe |= {"pool": "fixed", "initial_random": 2, "trainer": {**recipe["trainer"], **trainer}}
                source = {"source": recipe["prompts"]["path"]}
                recipe["prepare"] = {"function": f"{preparation}:copy", "settings": source}
                recipe["prompts"] = {**recipe["prompts"], "path": "{prepared}/prompts.jsonl"}
            if name == "online":  # weights are kept after rounds 2 and 3
                train = {k: v for k, v in recipe["trainer"]["train"].items() if k != "num_train_epochs"}
                recipe["trainer"] = {"name": "dpo", "accumulate": "round", "train": {**train, "learning_rate": 1.0e-2}}
                recipe |= {"online": True, "checkpoint_every": 2, "rounds": 3, "budget": 2}
            if name == "whole":
                labelled = tmp_path_factory.mktemp("labelled") / "labelled.jsonl"
                rows = ({"prompt": f"w{i} ", "chosen": f"w{i + 1} w3", "rejected": "w9 w8"} for i in range(4))
                labelled.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
                recipe |= {"acquisition": {"name": "random"}, "initial": {"labelled": str(labelled)}}
                recipe["policy"] = {"model": recipe["policy"]["model"], "adapter": "none"}
                recipe["trainer"] = {**recipe["trainer"], "reference": "previous"}
            folder = tmp_path_factory.mktemp(name) / "undisturbed"
            assert in_process(run_study, folder, recipe, None) == 0
            made[name] = Example(recipe, folder)
        return made[name]

    return example


# By default, in the middle of a stage.
EVERY_KIND = [pytest.param("regenerate", kind, marks=() if kind == "inside" else pytest.mark.full) for kind in KINDS]
# The other recipes differ in what goes on between the rounds, hence at the boundaries and inside the stages: a fixed
# pool with retraining; all parameters trained, from a start on labelled data.
BOUNDARIES = [
    pytest.param(name, kind, marks=pytest.mark.full) for name in ("fixed", "whole") for kind in ("inside", "committed")
]


# Online, what was trained since the last checkpoint is trained again, and must come out the same. By default,
# `test_sets_study` shows it.
ONLINE = [pytest.param("online", kind, marks=pytest.mark.full) for kind in ("committed", "inside", "uncommitted")]


@pytest.mark.parametrize(("name", "kind"), [*EVERY_KIND, *BOUNDARIES, *ONLINE])
def test_study_killed_everywhere_equals_the_undisturbed_one(
    name: str,
    kind: str,
    examples: Callable[[str, dict[str, Any]], Example],
    tiny_recipe: dict[str, Any],
    tmp_path: Path,
) -> None:
    """One study dies at every moment of a kind, one after the other; each time a new process resumes it."""
    example = examples(name, tiny_recipe)
    folder = tmp_path / "study"
    moments = example.moments(kind)
    if kind == "renamed":  # a stage's artifact is in place and unmarked when "uncommitted" too; not so other files
        moments = [name for name in moments if name.split("/")[0].endswith(("create", "-files"))]
    for moment in moments:
        assert in_process(run_study, folder, example.recipe, moment) == -signal.SIGKILL, moment
    assert in_process(run_study, folder, example.recipe, None) == 0
    require_equal(folder, example.undisturbed)
    assert not list(tmp_path.rglob(".tmp-*"))
    if kind == "committed":  # no answer was lost, so nobody was asked twice
        assert lines(shown_log(folder)) == lines(shown_log(example.undisturbed))


def test_a_killed_featurize_goes_on_with_the_next_batch(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    """Killed twice in one round, in the gradients and in the reference's pass: no batch is computed twice."""
    gradient = {"dimension": 64, "max_tokens": 40}
    changes = {"rounds": 1, "acquisition": {"name": "information"}, "featurizers": {"gradient": gradient}}
    recipe = {**smaller(tiny_recipe), **changes}
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "study"

    def batches(study: Path) -> int:
        return sum(x.startswith("1-featurize/inside/") for x in lines(study.with_suffix(".trace")))

    assert in_process(run_study_saving_every_batch, undisturbed, recipe, None) == 0
    expected = batches(undisturbed)  # gradients, then the reference
    assert expected >= 8
    assert in_process(run_study_saving_every_batch, folder, recipe, "1-featurize/inside/3") == -signal.SIGKILL
    assert (folder / "rounds/001/.features/gradient.bin").is_file()
    # In the second life, the first step is the three batches that were found.
    last = f"1-featurize/inside/{expected - 4}"
    assert in_process(run_study_saving_every_batch, folder, recipe, last) == -signal.SIGKILL
    assert in_process(run_study_saving_every_batch, folder, recipe, None) == 0
    # A step for what was found: once in the second life, and in the third for the gradients and for the reference.
    assert batches(folder) == expected + 3
    require_equal(folder, undisturbed)
    assert not (folder / "rounds/001/.features").exists()


def test_moments_cover_every_stage(
    examples: Callable[[str, dict[str, Any]], Example], tiny_recipe: dict[str, Any]
) -> None:
    example = examples("regenerate", tiny_recipe)
    places = {kind: {name.split("/")[0] for name in example.moments(kind)} for kind in KINDS}
    written = ["sample", "pair", "featurize", "select", "train", "evaluate"]
    every = {"0-train", "0-known", "0-evaluate", *(f"{t}-{stage}" for t in (1, 2) for stage in written)}
    closed = {f"{t}-close" for t in (0, 1, 2)}
    told = {"1-annotate", "2-annotate"}
    files = {f"{t}-files" for t in (0, 1, 2)}
    assert places["schema"] == {"create"}
    assert places["written"] == places["renamed"] == every | files | {"create"}
    assert places["uncommitted"] == places["committed"] == every | closed | told
    assert places["inside"] == every - {"0-train", "1-pair", "2-pair"} | told  # these report no steps: too short


def test_moments_cover_every_stage_online(
    examples: Callable[[str, dict[str, Any]], Example], tiny_recipe: dict[str, Any]
) -> None:
    example = examples("online", tiny_recipe)
    committed = {name.split("/")[0] for name in example.moments("committed")}
    each = ["sample", "pair", "featurize", "select", "annotate", "step", "close"]
    rounds = {f"{t}-{stage}" for t in (1, 2, 3) for stage in each}
    kept = {f"{t}-{stage}" for t in (2, 3) for stage in ("optimizer", "train", "evaluate")}
    assert committed == {"0-train", "0-evaluate", "0-close"} | rounds | kept


def test_answers_told_before_the_kill_are_not_asked_for_again(
    examples: Callable[[str, dict[str, Any]], Example], tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    example = examples("regenerate", tiny_recipe)
    folder = tmp_path / "study"
    assert in_process(tell_half_and_die, folder, example.recipe) == -signal.SIGKILL
    assert in_process(run_study, folder, example.recipe, None) == 0
    found, expected = outcome(folder), outcome(example.undisturbed)
    first_round = [x.question.id for x in expected["asked"] if x.round == 1]
    assert lines(shown_log(folder))[: len(first_round)] == first_round[::2] + first_round[1::2]
    assert sorted(lines(shown_log(folder))) == sorted(x.question.id for x in expected["asked"] if x.round > 0)
    assert [x.id for x in found.pop("answers")] != [x.id for x in expected["answers"]]  # they came in another order
    for part, value in found.items():
        assert value == expected[part], part


def test_equal_seeds_give_equal_studies_and_other_seeds_other_ones(
    examples: Callable[[str, dict[str, Any]], Example], tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    example = examples("regenerate", tiny_recipe)
    assert in_process(run_study, tmp_path / "again", example.recipe, None) == 0
    require_equal(tmp_path / "again", example.undisturbed)
    assert in_process(run_study, tmp_path / "other", {**example.recipe, "seed": 1}, None) == 0
    assert outcome(tmp_path / "other")["metrics"] != outcome(example.undisturbed)["metrics"]
