"""`duelist init`. Imports at module level only what `--help` needs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from duelist.cli.console import say
from duelist.errors import RecipeError


def init(
    recipe: Annotated[Path, typer.Argument(metavar="FILE", help="Recipe file to write (.yaml).", show_default=False)],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Language model to align: a folder, or a name on the Hub.")
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts", "-p", help="Prompts: a file with `prompt` or `messages` (.jsonl, .parquet), or a Hub name."
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            "-l",
            metavar="WHO",
            help="Who labels: `people`, `reward_function`, `reward_model`, `judge` or `dataset`.",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="NAME", help="The reward function (`file.py:name`), reward model or judge."),
    ] = None,
    budget: Annotated[int | None, typer.Option("--budget", "-k", min=1, help="Labels in the whole study.")] = None,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, help="Maximum length of a response, in tokens.")
    ] = 256,
) -> None:
    """Write a first recipe for your own model and prompts: commented, under 40 lines, ready to run.

    Asks for what no option gives. Never overwrites a file.

    Example: `duelist init my-study.yaml --model my-model --prompts prompts.jsonl --labels people --budget 100`
    """
    from duelist.preflight.starter import LABELLERS, NEEDS_NAME, Start, labeller, require_new, starter_recipe

    require_new(recipe)
    missing = [name for name, value in (("--model", model), ("--prompts", prompts), ("--labels", labels)) if not value]
    missing += ["--budget"] if budget is None else []
    if missing and not sys.stdin.isatty():
        raise RecipeError(
            f"Without a terminal to ask at, `duelist init` needs its options, but {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing: add {'it' if len(missing) == 1 else 'them'}."
        )
    model = model or _ask("Language model to align (a folder, or a name on the Hub)")
    prompts = prompts or _ask("Prompts (a .jsonl or .parquet file, or a data set on the Hub)")
    if labels is None:
        say("\n".join(f"  {name}: {meaning}" for name, meaning in LABELLERS.items()))
    who = labeller(labels or _ask("Who labels", default="people"))
    if by is None and who in NEEDS_NAME and sys.stdin.isatty():
        by = _ask(f"Which {NEEDS_NAME[who]} ({LABELLERS[who]})")
    budget = budget or int(_ask("How many labels in all", default=100, type=int))
    text = starter_recipe(Start(recipe.stem, model, prompts, who, by, budget, max_new_tokens))
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(text, encoding="utf-8")
    file = shlex.quote(str(recipe))
    say(f"{recipe} is written. Next:\n  duelist run {file} --dry-run   # the plan\n  duelist run {file}")


def _ask(question: str, **options: Any) -> Any:
    return typer.prompt(question, **options)
