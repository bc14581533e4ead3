"""`duelist push`. Imports at module level only what `--help` needs."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from duelist.cli.console import Quiet, StudyDir, say


def push(
    study: StudyDir,
    repo: Annotated[str, typer.Option("--repo", metavar="OWNER/NAME", help="Repository of the weights.")],
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset", metavar="OWNER/NAME", help="Repository of the preferences. If not given, REPO-preferences."
        ),
    ] = None,
    dry_run: Annotated[
        Path | None,
        typer.Option("--dry-run", metavar="FOLDER", help="Write what would be uploaded to FOLDER, and upload nothing."),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody see new repositories. They are private otherwise.")
    ] = False,
    license: Annotated[
        str | None, typer.Option("--license", metavar="ID", help="License, as the Hub names it, e.g. apache-2.0.")
    ] = None,
    names: Annotated[
        bool, typer.Option("--names", help="Keep the annotators' names. They are pseudonyms otherwise.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Share a study on the Hugging Face Hub: its weights and its preferences, each with a card filled from the study.

    Works while another process runs the study. The recipe, times and the ledger of people are not uploaded. The token
    comes from the environment variable HF_TOKEN, or from `hf auth login`. Look at `--dry-run` first.

    Example: `duelist push studies/my-study --repo me/my-model --dry-run shared`
    """
    from duelist.sharing.hub import push, require_repo, require_token
    from duelist.sharing.publication import write_publication

    preferences = dataset or f"{repo}-preferences"
    require_repo(repo)
    require_repo(preferences)
    if dry_run is not None:
        publication = write_publication(study, dry_run, repo, preferences, license=license, named=names)
        if not quiet:
            say(f"Written to {publication.model}" + (f" and {publication.dataset}" if publication.dataset else ""))
    else:
        require_token()
        with TemporaryDirectory() as folder:
            publication = write_publication(
                study, Path(folder) / "shared", repo, preferences, license=license, named=names
            )
            pushed = push(publication, public=public)
        if not quiet:
            say("\n".join(x for x in (pushed.model, pushed.dataset) if x))
    if publication.dataset is None and not quiet:
        say("The study has no preferences yet, so there is no data set.")
