"""`duelist select`. Only what `--help` needs is imported with this module."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duelist.cli.console import Quiet, TerminalProgress, err, say, say_certificate
from duelist.progress import Silent, quiet_libraries


def select(
    pool: Annotated[str, typer.Argument(metavar="POOL", help="A .jsonl or .parquet file, or a data set on the hub.")],
    model: Annotated[str, typer.Option("--model", "-m", help="The model: a folder or its name on the hub.")],
    budget: Annotated[int, typer.Option("--budget", "-k", help="How many pairs to choose.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the choice (.jsonl).")],
    adapter: Annotated[
        Path | None, typer.Option("--adapter", help="A PEFT LoRA adapter of the model; a fresh one by default.")
    ] = None,
    labelled: Annotated[
        str | None, typer.Option("--labelled", metavar="FILE", help="Pairs that have labels already: not chosen again.")
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option("--targets", metavar="FILE", help="Pairs on the prompts that matter, for rules that need them."),
    ] = None,
    acquisition: Annotated[
        str, typer.Option("--acquisition", "-a", help="The rule (`duelist methods`).")
    ] = "activedpo",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="a=b", help="A setting of the rule; may be repeated.")
    ] = None,
    normalize: Annotated[
        str, typer.Option(help="`response` or `pair`: scaled to unit norm; `token`: per token; `none`.")
    ] = "response",
    dimension: Annotated[int, typer.Option(help="Gradients are projected to so many dimensions.")] = 8192,
    beta: Annotated[float, typer.Option(help="β of the implicit reward.")] = 0.1,
    dtype: Annotated[
        str, typer.Option(help="The type of the model's weights: `float32`, `bfloat16` or `float64`.")
    ] = "float32",
    seed: Annotated[int, typer.Option(help="The root of all randomness.")] = 0,
    features: Annotated[
        Path | None,
        typer.Option("--features", metavar="DIR", help="Where features are kept; FILE.features by default."),
    ] = None,
    keep_columns: Annotated[
        bool,
        typer.Option("--keep-columns", help="Write the rows' other columns too, with score and reason: not blind."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Choose the pairs of a pool that teach a model most, for people with their own data and their own trainer.

    A row of POOL has a `prompt` with `response_a` and `response_b`, `chosen` and `rejected`, or a list `responses`. The
    output has the picks in pick order, ready for people to label: `prompt`, `response_a`, `response_b`, `rank` and
    `row`, and nothing that says which response was preferred. To prune data that is labelled already, add
    `--keep-columns`. A run that was killed goes on where it was.

    Example: `duelist select pool.jsonl --model my-model --adapter my-adapter --budget 100 -o to-label.jsonl`
    """
    quiet_libraries()
    from duelist.selection.to_file import select_to_file

    progress = Silent() if quiet else TerminalProgress(err)
    picks = select_to_file(
        output,
        pool,
        model,
        settings=overrides or [],
        acquisition=acquisition,
        budget=budget,
        adapter=adapter,
        labelled=labelled,
        targets=targets,
        normalize=normalize,
        dimension=dimension,
        beta=beta,
        dtype=dtype,
        seed=seed,
        keep_columns=keep_columns,
        features=features or Path(f"{output}.features"),
        progress=progress,
    )
    if not quiet:
        say(f"{len(picks)} pairs in pick order written to {output}")
        say_certificate(picks.diagnostics)
