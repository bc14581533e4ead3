"""Commands that need no model answer without loading a library of models or of numerics."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from test_cli_documentation import COMMANDS

SCIPY = {f"scipy.{name}" for name in ("linalg", "optimize", "sparse", "special", "stats")}
HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "pandas", "matplotlib"} | SCIPY
# Runs each command in turn, and prints the first that loads one of these libraries.
PROBE = """
import contextlib, io, sys
from duelist.cli.app import main
for line in sys.stdin.read().splitlines():
    sys.argv = ["duelist", *line.split()]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main()
    loaded = sorted({heavy} & set(sys.modules))
    if loaded:
        print(line, loaded)
        break
"""


def test_commands_without_a_model_load_no_model_library(tmp_path: Path) -> None:
    helps = [f"{name} --help" for name in ["", *COMMANDS]]
    dry = [f"run {name} --dry-run --quiet" for name in ("quickstart", "reward-quickstart", "rlhf-quickstart")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "DUELIST_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROBE.replace("{heavy}", str(HEAVY))],
        input="\n".join([*helps, *dry, "recipes", "status nothing"]),
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    assert "status" not in done.stderr and "nothing" in done.stderr  # the last line was reached: no such study
