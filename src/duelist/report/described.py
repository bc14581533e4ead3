"""What a study asks, of whom, by which rule and with which model, in words, from its recipe."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from duelist.recipe.components import COMPONENTS
from duelist.recipe.docstrings import summary_of
from duelist.recipe.values import name_of
from duelist.report.formats import count
from duelist.report.record import Arm
from duelist.store.decisions import question_of

PEOPLE = "people (labels come by tell)"
ASKS = {
    "pair": "Which of two responses is better?",
    "ranking": "What is the order of {k} responses, best first?",
    "best_of_k": "Which of {k} responses is the best?",
    "best_worst": "Which of {k} responses is the best, and which the worst?",
}


def noun(arm: Arm) -> str:
    """Return what a study asks, in a word."""
    return "question" if any(x.question.k > 2 for x in arm.asked) else "pair"


def question(arm: Arm) -> str:
    """Return the most frequent question of a study in words; that of pairs before anything is asked."""
    if not arm.asked:
        return ASKS["pair"]
    (asks, k), _ = Counter((x.question.asks, x.question.k) for x in arm.asked).most_common(1)[0]
    return ASKS[asks].format(k=k)


def state(arm: Arm) -> str:
    """Return how far a study is, in a sentence."""
    labels = count(len(arm.answers), "label")
    if not arm.metrics:
        return f"Nothing measured yet: no round of {arm.rounds} closed, {labels}."
    if arm.finished and arm.end.reason:
        return f"Finished: stopped after {arm.rounds_closed} of {arm.rounds} rounds, {labels}; {arm.end.reason}."
    if arm.finished:
        return f"Finished: {arm.rounds} of {arm.rounds} rounds closed, {labels}."
    current = arm.rounds_closed + 1
    asked = {x.question.id for x in arm.asked if x.round == current}
    answered = len(asked & {question_of(x) for x in arm.answers})
    pending = f"{len(asked)} {noun(arm)}s asked, {answered} answered" if asked else "no pair asked yet"
    return f"In progress: round {current} of {arm.rounds} ({pending}); {arm.rounds_closed} closed, {labels}."


def settings(arm: Arm) -> list[tuple[str, str]]:
    """Return the settings that a reader needs, by name."""
    recipe = arm.recipe
    acquisition = dict(recipe["acquisition"])
    rule = str(acquisition.pop("name"))
    known = [("Known before round 1", f"{arm.known} preferences")] if arm.known else []
    return [
        ("Model", _prepared(_model(recipe), recipe)),
        ("Acquisition", _prepared(f"{rule} ({_brief(acquisition)})" if acquisition else rule, recipe)),
        ("Trainer", _prepared(name_of(recipe, "trainer"), recipe)),
        ("β", str(recipe["beta"])),
        ("Budget", budget(arm)),
        *known,
        ("Pool", str(recipe["pool"])),
        ("Annotator", annotator(arm)),
        ("Seed", str(recipe["seed"])),
    ]


def budget(arm: Arm) -> str:
    """Return how many questions are asked in which round, in words."""
    recipe = arm.recipe
    split = recipe.get("schedule", "constant")
    asked = f"{recipe['budget']} {noun(arm)}s a round, {recipe['rounds']} rounds" + (
        "" if split == "constant" else f", schedule {split if isinstance(split, str) else _brief({'list': split})}"
    )
    return asked + (f", the first {recipe['initial_random']} at random" if recipe.get("initial_random") else "")


def annotator(arm: Arm) -> str:
    """Return who answers."""
    return _prepared(name_of(arm.recipe, "annotator") or PEOPLE, arm.recipe)


def model(arm: Arm) -> str:
    """Return the model that a study trains."""
    return _prepared(_model(arm.recipe), arm.recipe)


def rule(arm: Arm) -> str:
    """Return the name of the rule."""
    return _prepared(name_of(arm.recipe, "acquisition"), arm.recipe)


def rule_summary(name: str) -> str:
    """Return the first sentence of a shipped rule's documentation; nothing for a rule of the user's own."""
    path = COMPONENTS["acquisition"].get(name)
    return "" if path is None else summary_of(path)


def _prepared(text: str, recipe: Mapping[str, Any]) -> str:
    """Replace `{prepared}`, which only a running study resolves, by a description."""
    function = (recipe.get("prepare") or {}).get("function")
    if "{prepared}" not in text or function is None:
        return text
    return f"{text.replace('{prepared}/', '').replace('{prepared}', 'the folder')} (prepared by {function})"


def _model(recipe: Mapping[str, Any]) -> str:
    reward_model = recipe.get("reward_model")
    if reward_model is None:
        return str(recipe["policy"]["model"])
    embedding = reward_model["embedding"]
    where = embedding["path"] or embedding["model"] or (recipe["policy"] or {}).get("model", "")
    return f"reward model, hidden layers {reward_model['hidden']}, on embeddings by {embedding['source']} ({where})"


def _brief(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}: {json.dumps(v, ensure_ascii=False)}" for k, v in values.items())
