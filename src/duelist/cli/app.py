"""The `duelist` command and its subcommands."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any, NoReturn

import typer
from rich.markup import escape
from typer.core import TyperGroup

from duelist._version import __version__
from duelist.cli.annotate import annotate, annotators, tell
from duelist.cli.audit import audit
from duelist.cli.compare import compare
from duelist.cli.console import err, say
from duelist.cli.doctor import doctor
from duelist.cli.export import export, import_
from duelist.cli.gallery import gallery
from duelist.cli.init import init
from duelist.cli.label_studio import label_studio
from duelist.cli.methods import methods
from duelist.cli.plan import plan
from duelist.cli.push import push
from duelist.cli.recipes import recipes
from duelist.cli.rehearse import rehearse
from duelist.cli.report import report
from duelist.cli.run import run
from duelist.cli.select import select
from duelist.cli.status import status
from duelist.cli.suite import suite
from duelist.cli.verify import verify
from duelist.errors import DuelistError

STOPPED = "Stopped. Nothing recorded is lost: run the same command again to go on."


class _Commands(TyperGroup):
    """Group of all commands. It explains an interrupt or `sys.exit` before typer reduces it to an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            err.print(STOPPED, soft_wrap=True)
            raise typer.Exit(130) from None
        except SystemExit as stop:  # from user code or a library: typer would exit with its code, perhaps 0
            raise DuelistError(
                f"A command must run to its end, but something that it called ended the process (exit code "
                f"{stop.code}): look for `sys.exit` in the recipe's own code. Nothing recorded is lost."
            ) from stop


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Select the response pairs that are worth annotating, train on the labels, and repeat.\n\n"
    "Start with `duelist run quickstart`: no download, no GPU, less than three minutes.",
)


def main() -> None:
    """Run the command. Print an expected error as one message on standard error and exit with code 2."""
    # A second OpenMP thread that spins on a busy core slows torch down tenfold; telemetry is off by default.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        app()
    except DuelistError as error:
        _end(str(error.args[-1]) if isinstance(error, OSError) and error.args else str(error))
    except OSError as error:  # names a file or folder the user gave; a full disk is explained elsewhere
        if error.filename is None:
            raise
        _end(f"{error.filename} must be usable, but is not: {error.strerror}. Correct the path or its permissions.")
    except KeyboardInterrupt:
        err.print(STOPPED, soft_wrap=True)
        sys.exit(130)


def _end(message: str) -> NoReturn:
    err.print(f"[red]Error:[/red] {escape(message)}", soft_wrap=True, highlight=False, emoji=False)
    sys.exit(2)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        say(__version__)
        raise typer.Exit


for command in (
    run,
    init,
    plan,
    annotate,
    tell,
    compare,
    rehearse,
    audit,
    select,
    status,
    report,
    export,
    push,
    verify,
    recipes,
    methods,
    gallery,
    doctor,
):
    app.command()(command)
app.command("import")(import_)
app.add_typer(annotators, name="annotators")
app.add_typer(label_studio, name="label-studio")
app.add_typer(suite, name="suite")
