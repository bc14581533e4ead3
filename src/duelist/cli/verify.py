"""`duelist verify`. Imports at module level only what `--help` needs."""

from __future__ import annotations

from typing import Annotated

import typer

from duelist.cli.annotate import STORE
from duelist.cli.console import Json, StudyDir, print_json, say


def verify(
    study: StudyDir,
    store: Annotated[
        str | None, typer.Option("--store", metavar="URL", envvar=STORE, help="Database of the ledger, if not in DIR.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a study: artifacts by their digests, labels against the ledger of what people did, files against the
    record.

    Prints one line per finding, and exits with 1 if there is one. Writes nothing.
    """
    from duelist.web.served_study import ledger_url
    from duelist.web.verify import verify as findings

    found = findings(study, store or ledger_url(study))
    if as_json:
        print_json({"findings": found})
    else:
        for line in found:
            say(line)
        say("Nothing is wrong." if not found else f"{len(found)} findings.")
    if found:
        raise typer.Exit(1)
