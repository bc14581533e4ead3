"""A study's questions as other tools show them: in pick order, with the displayed order written into each task."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duelist.errors import DataError
from duelist.seeding import generator
from duelist.store.artifacts import write_text
from duelist.store.recipe_file import kept_recipe
from duelist.store.store import Store
from duelist.types import Prompt, Question

_SEPARATOR = "."  # no id holds one


@dataclass(frozen=True)
class Task:
    """A question for people who answer in another tool.

    Attributes:
        question: the question.
        prompts: the prompts of its responses, by id.
        round: the round that asked it.
        position: its place in the round's batch, from 0.
        shown: ids of the responses in the order in which they are displayed.
    """

    question: Question
    prompts: Mapping[str, Prompt]
    round: int
    position: int
    shown: tuple[str, ...]

    @property
    def prompt_text(self) -> str:
        """The conversation as text; of a pair that crosses prompts, both conversations."""
        prompts = [self.prompts[i] for i in dict.fromkeys(r.prompt_id for r in self._responses)]
        return "\n\n".join(map(_conversation, prompts))

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of the responses in displayed order."""
        return tuple(r.text for r in self._responses)

    @property
    def _responses(self) -> Iterator[Any]:
        by_id = {r.id: r for r in self.question.responses}
        return (by_id[i] for i in self.shown)


def tasks_of(store: Store, *, every: bool = False) -> list[Task]:
    """Return the questions to answer, by round and pick: those without an answer, or every one that was asked.

    The sides are shuffled by the study's seed, so a question has the same display order whenever it is exported.
    """
    seed = int(kept_recipe(store.folder).get("seed", 0))
    prompts, answered = store.prompts(), store.answered()
    found = []
    for x in store.asked():
        if x.round > 0 and (every or x.question.id not in answered):
            ids = [r.id for r in x.question.responses]
            order = generator(seed, "displayed", x.question.id).permutation(len(ids))
            own = {r.prompt_id: prompts[r.prompt_id] for r in x.question.responses}
            found.append(Task(x.question, own, x.round, x.position, tuple(ids[i] for i in order)))
    return found


def study_name(store: Store) -> str:
    """Return the name of a study, for the project of another tool."""
    return str(kept_recipe(store.folder).get("name", store.folder.name))


def item_id(task: Task) -> str:
    """Return an id that holds the question's id and the displayed order, for tools that return nothing else."""
    return _SEPARATOR.join((task.question.id, *task.shown))


def question_and_order(item: Any) -> tuple[str, list[str]]:
    """Return the question's id and the displayed order that `item_id` wrote."""
    question_id, *shown = str(item).split(_SEPARATOR)
    return question_id, shown


def require_pairs(tasks: list[Task], tool: str) -> list[Task]:
    """Return the tasks, all of which must be pairs.

    Raises:
        DataError: if one has more responses: these tools save the displayed order as a ranking that nobody gave.
    """
    larger = [t for t in tasks if t.question.k > 2]
    if larger:
        raise DataError(
            f"{tool} is given pairs, but {len(larger)} of {len(tasks)} questions have more responses (the first is "
            f"{larger[0].question.id}): its ranking widget saves the displayed order as a ranking where nobody moved "
            "anything. Let people answer them at `duelist annotate`, or fill in the file of `duelist export --format "
            "csv`."
        )
    return tasks


def written_files(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Write text files into a folder, which is created, and return their paths."""
    paths = []
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
        paths.append(path)
    return paths


def _conversation(prompt: Prompt) -> str:
    texts = [(str(m.get("role", "user")), _text(m.get("content", ""))) for m in prompt.messages]
    if len(texts) == 1:
        return texts[0][1]
    return "\n\n".join(f"{role}: {text}" for role, text in texts)


def _text(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
