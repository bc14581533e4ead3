"""The `duelist gallery` command. This module imports only the dependencies of `--help`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duelist.cli.console import Quiet, TerminalProgress, err, say
from duelist.progress import Silent, quiet_libraries


def gallery(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Output folder.")],
    acquisition: Annotated[
        str | None,
        typer.Option(
            "--acquisition", "-a", metavar="A,B,C", help="Draw only these rules. A dotted path draws your own rule."
        ),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Number of rounds per rule.")] = 4,
    picks: Annotated[
        int, typer.Option("--picks", min=1, max=10_000, help="Number of comparisons picked per round.")
    ] = 200,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed, the only source of randomness.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Draw the comparisons of points in the plane that each rule picks, round by round, as it learns a reward.

    The setting is that of Figure 1 of the active reward modelling paper (arXiv 2502.04354). It takes about three
    seconds per rule.

    Example: `duelist gallery -o pictures -a random,activedpo,information`.
    """
    quiet_libraries()
    from duelist.acquisition.base import Acquisition
    from duelist.gallery.plane import GalleryConfig, write_gallery
    from duelist.recipe.component import Component
    from duelist.recipe.values import listed_names

    names = None if acquisition is None else listed_names(acquisition, "--acquisition")
    for name in names or ():
        Component.of(Acquisition, name)  # reports an unknown rule before the folder is created
    progress = Silent() if quiet else TerminalProgress(err)
    written = write_gallery(output, names, GalleryConfig(rounds=rounds, picks=picks, seed=seed), progress)
    if not quiet:
        say(f"{len(written)} pictures written to {output}")
