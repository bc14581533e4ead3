"""A finished study of larger questions made by hand, without a model, as `small_study` is one of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import small_study
from duelist.store import codecs
from duelist.store.folder import StudyFolder
from duelist.store.opening import create_folder
from duelist.store.row_codecs import AskedQuestion
from duelist.types import Answer, Features, Label, Prompt, Question, Response, Selection

PROMPT = Prompt.of("Say something.")
ASKS = ("ranking", "best_worst", "best_of_k", "ranking", "pair")  # of the questions of each round
REWARDS = (0.5, 0.25, 0.0, -0.5)


def responses_of(t: int, i: int) -> list[Response]:
    """The four responses, two for a pair, of question i of round t; the first is the shortest."""
    return [
        Response.of(PROMPT, f"text {t} {i} {n}", [1], [*range(2, 4 + n), 40 + t], t)
        for n in range(2 if ASKS[i] == "pair" else 4)
    ]


def questions_of(t: int) -> list[AskedQuestion]:
    """The questions of round t; the reward falls from the first response to the last."""
    asked = []
    for i, asks in enumerate(ASKS):
        responses = responses_of(t, i)
        reward = {r.id: value for r, value in zip(responses, REWARDS, strict=False)}
        question = Question.of(responses, asks, t, ["policy"] * len(responses))  # type: ignore[arg-type]
        rewards = tuple(reward[r.id] for r in question.responses)
        margin = rewards[0] - rewards[1] if asks == "pair" else 1.0
        asked.append(AskedQuestion(question, t, i, 2.0 - 0.25 * i, "nats", margin, rewards))
    return asked


def ids(t: int, i: int) -> list[str]:
    """The ids of the responses of question i of round t, in the order of their rewards."""
    return [r.id for r in responses_of(t, i)]


def answers_of(t: int) -> list[Answer | Label]:
    """An answer to each question of round t: a ranking with a tie, the best and the worst, the best, one that stops."""
    one, two, three, four, pair = questions_of(t)
    r, s, u, v = (ids(t, i) for i in range(4))
    chosen = "a" if pair.question.a.id == ids(t, 4)[0] else "b"
    return [
        Answer(one.question.id, "ann", [r[0], (r[2], r[1]), r[3]], seconds=20.5, shown=r[::-1], id=f"{t}-0"),
        Answer(two.question.id, "ann", best=s[3], worst=s[0], id=f"{t}-1"),
        Answer(three.question.id, "bob", best=u[0], time="2026-01-31T12:00:00+00:00", id=f"{t}-2"),
        Answer(four.question.id, "bob", [v[1]], stopped=True, id=f"{t}-3"),
        Label(pair.question.id, "ann", chosen, id=f"{t}-4"),  # type: ignore[arg-type]
    ]


def ask(folder: StudyFolder, t: int) -> list[AskedQuestion]:
    """Ask round t's questions."""
    asked = questions_of(t)
    folder.run(t, "featurize", codecs.FEATURES, lambda: Features.identities([]))
    selection = Selection(np.arange(len(asked)), np.array([x.score for x in asked]), "nats")
    folder.run_selection(t, lambda: (selection, asked, [PROMPT]))
    folder.discard_features(t)
    return asked


def begun(path: Path, **changes: Any) -> StudyFolder:
    """A study whose first round was asked and has no answer yet."""
    folder = create_folder(path, {**small_study.RECIPE, "budget": len(ASKS), **changes})
    small_study.close(folder, 0)
    ask(folder, 1)
    return folder


def finished(path: Path, rounds: int = 2, extra: Sequence[Answer | Label] = ()) -> None:
    """Make a study of so many rounds, all closed."""
    folder = begun(path)
    for t in range(1, rounds + 1):
        if t > 1:
            ask(folder, t)
        folder.store.add_answers(answers_of(t))
        small_study.close(folder, t)
    folder.store.add_answers(extra)
    folder.close()
