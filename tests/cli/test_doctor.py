"""`duelist doctor`: one line per finding, and an exit code that a script can use."""

from __future__ import annotations

import json

import pytest
from cli_results import Command

from duelist.preflight import machine
from duelist.preflight.machine import Finding

FINE = Finding("numpy", "2.0")
NOTE = Finding("extra `annotate`", "not installed: fastapi", "note", "Without it: no page.")
MISSING = Finding("trl", "not installed", "missing", "Duelist needs trl>=1: install it.")


@pytest.mark.parametrize(("findings", "code"), [([FINE, NOTE], 0), ([FINE, NOTE, MISSING], 1)])
def test_the_exit_code_says_whether_something_needed_is_missing(
    findings: list[Finding], code: int, duelist: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "examine_machine", lambda: iter(findings))
    done = duelist("doctor")
    assert done.code == code
    *lines, last = done.out.splitlines()
    assert lines[:2] == [
        "ok       numpy: 2.0",
        "note     extra `annotate`: not installed: fastapi. Without it: no page.",
    ]
    assert last == ("Needed and missing: trl." if code else "Nothing that is needed is missing.")
    told = duelist("doctor", "--json")
    assert told.code == code and json.loads(told.out)["usable"] is (code == 0)
    assert [f["state"] for f in json.loads(told.out)["findings"]] == [f.state for f in findings]
