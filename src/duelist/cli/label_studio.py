"""`duelist label-studio`. Imports at module level only what `--help` needs."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from duelist.cli.annotate import Ledger
from duelist.cli.console import Quiet, StudyDir, say
from duelist.cli.export import imported, say_imported

Url = Annotated[str, typer.Option("--url", metavar="URL", help="Address of the server.")]
Project = Annotated[int, typer.Option("--project", min=1, help="Number of the project.")]

label_studio = typer.Typer(
    no_args_is_help=True,
    help="Send a study's questions to a Label Studio server, and fetch the votes. The key is read from the environment "
    "variable LABEL_STUDIO_API_KEY.",
)


@label_studio.command("push")
def push(
    study: StudyDir,
    url: Url,
    project: Annotated[
        int | None, typer.Option("--project", min=1, help="Number of the project. If not given, one is created.")
    ] = None,
    labels: Annotated[int, typer.Option("--labels", min=1, help="Votes per question, in a new project.")] = 1,
    every: Annotated[bool, typer.Option("--every", help="Also questions that have an answer already.")] = False,
    quiet: Quiet = False,
) -> None:
    """Send the questions without an answer to a project, in pick order, and print the project's number.

    Sides are shuffled, and the displayed order is written into each task. Questions that the project has already are
    not sent again, so push after every round. Works while another process runs the study.
    """
    from duelist.exchange.label_studio_server import LabelStudioServer
    from duelist.exchange.tasks import study_name, tasks_of
    from duelist.store.layout import require_study
    from duelist.store.store import Store

    require_study(study)
    with closing(Store(study, migrate=False)) as store:
        tasks = tasks_of(store, every=every)
        name = study_name(store)
    with LabelStudioServer(url) as server:
        number = server.create_project(name, labels) if project is None else project
        new, there = server.push(number, tasks)
    if not quiet:
        say(f"{new} questions sent to project {number}, {there} were there: {server.url}/projects/{number}")


@label_studio.command("pull")
def pull(study: StudyDir, url: Url, project: Project, store: Ledger = None, quiet: Quiet = False) -> None:
    """Fetch the votes of a project, and record them as `duelist import` does.

    Each has its annotator (by number), its time and the seconds spent. Votes that are recorded already change nothing.
    Works while `duelist annotate` runs, too.
    """
    from duelist.exchange.formats import Source
    from duelist.exchange.label_studio_server import LabelStudioServer
    from duelist.store.layout import require_study

    require_study(study)
    with LabelStudioServer(url) as server:
        items = list(server.items(project))
    say_imported(imported(study, Source("label-studio", iter(items)), store), quiet)
