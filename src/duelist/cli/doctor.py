"""`duelist doctor`. Imports at module level only what `--help` needs."""

from __future__ import annotations

import typer

from duelist.cli.console import Json, print_json, say

MARKS = {"ok": "ok     ", "note": "note   ", "missing": "MISSING"}


def doctor(as_json: Json = False) -> None:
    """Print what this machine has, and what will not work here and why.

    Covers versions (installed beside tested), devices, threads, memory, disk, network and extras. Exit code 1 if
    something that Duelist needs is missing. Changes nothing.
    """
    from dataclasses import asdict

    from duelist.preflight.machine import examine_machine, is_usable

    findings = examine_machine()
    if as_json:
        print_json({"usable": is_usable(findings), "findings": [asdict(f) for f in findings]})
    else:
        for f in findings:
            say(f"{MARKS[f.state]}  {f.about}: {f.found}" + (f". {f.remedy}" if f.remedy else ""))
        missing = [f.about for f in findings if f.state == "missing"]
        say("Nothing that is needed is missing." if not missing else f"Needed and missing: {', '.join(missing)}.")
    if not is_usable(findings):
        raise typer.Exit(1)
