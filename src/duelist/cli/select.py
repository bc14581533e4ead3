"""The `duelist select` command. This module imports only the dependencies of `--help`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duelist.cli.console import Quiet, TerminalProgress, err, go_offline_if_unreachable, say, say_certificate
from duelist.progress import Silent, quiet_libraries


def select(
    pool: Annotated[
        str, typer.Argument(metavar="POOL", help=".jsonl or .parquet file, or data set on the Hugging Face Hub.")
    ],
    model: Annotated[str, typer.Option("--model", "-m", help="Model: a folder, or a name on the Hub.")],
    budget: Annotated[int, typer.Option("--budget", "-k", help="Number of pairs to select.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Output file (.jsonl).")],
    adapter: Annotated[
        Path | None, typer.Option("--adapter", help="PEFT LoRA adapter of the model. If not given, a new adapter.")
    ] = None,
    labelled: Annotated[
        str | None,
        typer.Option("--labelled", metavar="FILE", help="Pairs that already have labels. They are not selected again."),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option("--targets", metavar="FILE", help="Pairs on the target prompts, for rules that need them."),
    ] = None,
    acquisition: Annotated[
        str, typer.Option("--acquisition", "-a", help="Acquisition rule (see `duelist methods`).")
    ] = "activedpo",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="a=b", help="Set a setting of the rule. May be repeated.")
    ] = None,
    normalize: Annotated[
        str, typer.Option(help="`response` or `pair`: scale to unit norm. `token`: divide by token count. `none`.")
    ] = "response",
    dimension: Annotated[int, typer.Option(help="Number of dimensions that gradients are projected to.")] = 8192,
    beta: Annotated[float, typer.Option(help="β of the implicit reward.")] = 0.1,
    dtype: Annotated[
        str, typer.Option(help="Data type of the model's weights: `float32`, `bfloat16` or `float64`.")
    ] = "float32",
    seed: Annotated[int, typer.Option(help="Random seed, the root of all randomness.")] = 0,
    features: Annotated[
        Path | None,
        typer.Option("--features", metavar="DIR", help="Folder of cached features. If not given, FILE.features."),
    ] = None,
    keep_columns: Annotated[
        bool,
        typer.Option(
            "--keep-columns", help="Also write the rows' other columns, score and reason. Labelling is then not blind."
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Select the pairs of your own pool that are most worth labelling, for use with your own trainer.

    A row of POOL has a `prompt` with `response_a` and `response_b`, `chosen` and `rejected`, or a list `responses`. The
    output contains the picks in pick order, ready for annotators: `prompt`, `response_a`, `response_b`, `rank` and
    `row`. It does not show which response was preferred. To prune data that already has labels, add `--keep-columns`.
    A killed run resumes where it stopped.

    Example: `duelist select pool.jsonl --model my-model --adapter my-adapter --budget 100 -o to-label.jsonl`
    """
    go_offline_if_unreachable(quiet)
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
