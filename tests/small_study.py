"""A finished study made by hand, without a model: every file that a real one has, in a hundredth of the time."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from duelist.store import codecs
from duelist.store.folder import StudyFolder
from duelist.store.opening import create_folder
from duelist.store.row_codecs import AskedQuestion
from duelist.types import Features, Label, Prompt, Question, Response, Selection

RECIPE: dict[str, Any] = {
    "name": "small",
    "seed": 0,
    "rounds": 2,
    "budget": 3,
    "beta": 0.1,
    "pool": "fixed",
    "policy": {"model": "a/model"},
    "acquisition": {"name": "random"},
    "trainer": {"name": "dpo", "train": {"learning_rate": 1e-05}},
    "evaluation": {"group_by": None},
}
PROMPT = Prompt.of("Say something.")
PAIRS = 3  # in each round


def pairs_of(t: int) -> list[AskedQuestion]:
    """The pairs of round t."""
    texts = [(f"yes {t} {i}", f"no {t} {i}") for i in range(PAIRS)]
    responses = [[Response.of(PROMPT, text, [1], [2, 3 + t], t) for text in both] for both in texts]
    return [AskedQuestion(Question.pair(a, b, t), t, i, 0.5, "nats", 0.1) for i, (a, b) in enumerate(responses)]


def ask(folder: StudyFolder, t: int) -> list[AskedQuestion]:
    """Ask round t's pairs, as a study does: the features lie there until the choice is recorded."""
    asked = pairs_of(t)
    folder.run(t, "featurize", codecs.FEATURES, lambda: Features.identities([x.question for x in asked]))
    selection = Selection(np.arange(PAIRS), np.full(PAIRS, 0.5), "nats")
    folder.run_selection(t, lambda: (selection, asked, [PROMPT]))
    folder.discard_features(t)
    return asked


def tell(folder: StudyFolder, t: int, outcome: Any = "a") -> None:
    """Answer round t's pairs."""
    folder.store.add_answers([Label(x.question.id, "ann", outcome) for x in pairs_of(t)])


def close(folder: StudyFolder, t: int) -> None:
    """Leave weights, and close round t."""

    def fill(target: Path) -> dict[str, float]:
        (target / "weights.bin").write_bytes(bytes([t]) * 1000)
        (target / "config.json").write_text("{}")
        return {}

    folder.run_training(t, "adapter", fill)
    folder.close_round(t, {"mean_reward": 0.25 * t, "kl": 0.1 * t, "win_rate": 0.5, "j": 0.0})


def finished(path: Path, rounds: int = 2) -> None:
    """Make a study of so many rounds, all closed."""
    for name, content in _files(rounds).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)


@cache
def _files(rounds: int) -> dict[Path, bytes]:
    """The files of such a study: making them takes a hundred times as long as writing them again."""
    with TemporaryDirectory() as made:
        path = Path(made)
        folder = create_folder(path, RECIPE)
        close(folder, 0)
        for t in range(1, rounds + 1):
            ask(folder, t)
            tell(folder, t)
            close(folder, t)
        folder.close()
        return {p.relative_to(path): p.read_bytes() for p in path.rglob("*") if p.is_file()}
