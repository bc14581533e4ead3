"""A first recipe from a few answers: the model, the prompts, who labels, and how many labels (`duelist init`)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from duelist.data.rows import row_prompt
from duelist.data.sources import SUFFIXES, RowSource
from duelist.errors import DataError, RecipeError
from duelist.recipe.reading import parse_recipe
from duelist.recipe.values import anchored
from duelist.settings.lookups import is_local
from duelist.settings.validation import expanded, nearest, read_yaml

Labeller = Literal["people", "reward_function", "reward_model", "judge", "dataset"]
LABELLERS: dict[Labeller, str] = {
    "people": "people, in a browser",
    "reward_function": "your function `file.py:name`, as TRL calls reward functions",
    "reward_model": "a sequence classifier with one output",
    "judge": "a language model that compares two responses",
    "dataset": "the data set's own preferences (`chosen` and `rejected`)",
}
NEEDS_NAME = {"reward_function": "function", "reward_model": "model", "judge": "model"}
ROUNDS = 5
MOST_HELD_OUT = 100
PROMPTS_PER_LABEL = 5  # drawn each round for every question asked: a rule needs a choice


@dataclass(frozen=True)
class Start:
    """The answers that a first recipe needs.

    Attributes:
        name: name of the study.
        model: folder or Hub name of the language model.
        prompts: file or Hub name of the prompts.
        labeller: who labels.
        labelled_by: the function or the model that labels; None for the other labellers.
        budget: number of labels in the whole study.
        max_new_tokens: maximum length of a response.
    """

    name: str
    model: str
    prompts: str
    labeller: Labeller
    labelled_by: str | None
    budget: int
    max_new_tokens: int


def labeller(word: str) -> Labeller:
    """Return the labeller of that name.

    Raises:
        RecipeError: if there is none.
    """
    for known in LABELLERS:
        if known == word:
            return known
    raise RecipeError(f"`--labels` must be one of {', '.join(LABELLERS)}, but got {word!r}.{nearest(word, LABELLERS)}")


def starter_recipe(start: Start) -> str:
    """Return a commented recipe of under 40 lines.

    Raises:
        RecipeError: if an answer is missing or makes no valid recipe.
        DataError: if the prompts are a file that cannot be used, or there are too few for the budget.
    """
    if start.labeller in NEEDS_NAME and not start.labelled_by:
        raise RecipeError(f"Who labels must be named with `--by`: {LABELLERS[start.labeller]}.")
    if start.labeller == "reward_function" and not re.fullmatch(".+:.+", start.labelled_by or ""):
        raise RecipeError(
            f"`--by` must name a function as `file.py:name`, but got {start.labelled_by!r}: add the name."
        )
    text = _written(start, _local_prompts(start.prompts))
    parse_recipe(anchored(read_yaml(text)))
    return text


def _local_prompts(path: str) -> int | None:
    """Return the number of distinct prompts in a file; None for a name on the Hub.

    Raises:
        DataError: if the file does not exist or a row has no usable prompt.
    """
    if not is_local(path, SUFFIXES):
        return None
    return len({row_prompt(row, where).id for where, row in RowSource(path)})


def _written(start: Start, prompts: int | None) -> str:
    from_data = start.labeller == "dataset"
    if prompts is not None and prompts < 3:
        raise DataError(f"A study needs at least 3 prompts, one of them held out, but {start.prompts} has {prompts}.")
    held_out = MOST_HELD_OUT if prompts is None else max(1, min(MOST_HELD_OUT, prompts // 5))
    rounds = max(r for r in range(1, ROUNDS + 1) if start.budget % r == 0)
    if rounds == 1 and start.budget >= 2 * ROUNDS:
        rounds = ROUNDS  # a prime number of labels: rounded to a multiple
    each = round(start.budget / rounds)
    per_round = each * PROMPTS_PER_LABEL
    if prompts is not None:
        per_round = min(per_round, prompts - held_out)
        pool = per_round if from_data else 3 * per_round
        if each > pool:
            raise DataError(
                f"Each round asks {each} questions, but {prompts} prompts give {pool} at most: add prompts, or lower "
                "`--budget`."
            )
    return "\n".join(
        [
            f"# {rounds * each} labels by {LABELLERS[start.labeller]}. Every key: docs/recipe.md",
            f"name: {_scalar(start.name)}",
            f"rounds: {rounds}",
            f"budget: {each} # questions per round",
            "beta: 0.1 # of DPO: larger stays closer to the model",
            "",
            "prompts:",
            f"  path: {_scalar(_path(start.prompts))}",
            f"  held_out: {held_out} # set aside for the evaluation",
            *([] if from_data else [f"  per_round: {per_round} # prompts that get responses in each round"]),
            "",
            "policy:",
            f"  model: {_scalar(_path(start.model))}",
            "  dtype: float32 # bfloat16 halves the memory on a GPU",
            "  lora: {r: 16, lora_alpha: 32, target_modules: all-linear}",
            "",
            *_responses(start, from_data),
            "acquisition: policy_gap # which questions are asked; `duelist methods` lists the rules",
            *([f"initial_random: {each} # the first batch is drawn at random"] if rounds > 1 else []),
            "",
            *_annotator(start),
            "",
            "trainer:",
            "  name: dpo",
            "  train: {learning_rate: 2.0e-5, num_train_epochs: 2, per_device_train_batch_size: 4}",
            "",
            "evaluation:",
            f"  max_new_tokens: {start.max_new_tokens}",
            "",
        ]
    )


def _responses(start: Start, from_data: bool) -> list[str]:
    if from_data:
        return ["sampler: dataset # responses of the data set", "pairing: as_given # and its pairs", "pool: fixed"]
    return [
        "sampler:",
        "  name: vanilla # responses drawn from the model itself",
        "  responses_per_prompt: 3",
        f"  max_new_tokens: {start.max_new_tokens}",
    ]


def _annotator(start: Start) -> list[str]:
    if start.labeller == "people":
        return ["annotator: people # served to browsers: docs/annotate.md"]
    if start.labeller == "dataset":
        return ["annotator:", "  name: dataset_labels", f"  path: {_scalar(_path(start.prompts))}"]
    key, by = NEEDS_NAME[start.labeller], str(start.labelled_by)
    file, colon, name = by.rpartition(":")
    by = f"{_path(file)}:{name}" if key == "function" and colon else _path(by)
    return ["annotator:", f"  name: {start.labeller}", f"  {key}: {_scalar(by)}"]


def _path(name: str) -> str:
    """Return an existing path as an absolute one, so that the recipe works from any folder."""
    path = expanded(name)
    return str(path.resolve()) if path.exists() else name


def _scalar(text: str) -> str:
    """Return a text as a YAML scalar, quoted if it has to be."""
    try:
        plain = bool(re.fullmatch(r"[\w./~+-][\w ./~:+-]*", text)) and read_yaml(f"key: {text}") == {"key": text}
    except yaml.YAMLError:
        plain = False
    return text if plain else json.dumps(text, ensure_ascii=False)


def require_new(path: Path) -> None:
    """Check that a recipe's file does not exist yet.

    Raises:
        RecipeError: if it exists.
    """
    if path.exists():
        raise RecipeError(f"`duelist init` writes a new file, but {path} exists: give another name, or delete it.")
    if path.suffix not in (".yaml", ".yml"):
        raise RecipeError(f"A recipe's file must end in .yaml, but got {path}: rename it.")
