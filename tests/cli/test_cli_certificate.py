"""How far a batch is from the best one: on the terminal where the rule knows, and in what `duelist.select` returns."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from duelist.cli.app import app
from duelist.cli.console import certificate_line

LINE = re.compile(r"the batch is within ([\d.e+-]+) % of the optimum \(D-efficiency, by an upper bound")


def test_the_line_says_the_percentage() -> None:
    line = certificate_line({"within_percent_of_optimum": 0.9534})
    assert line is not None and LINE.match(line) and "within 0.95 %" in line
    line = certificate_line({"within_percent_of_optimum": 99.97})
    assert line is not None and "within 100.0 %" in line
    assert certificate_line({"logdet_nats": 3.0}) is None


@pytest.mark.parametrize(("setting", "printed"), [("true", True), ("false", False)])
def test_select_prints_it(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, printed: bool
) -> None:
    pool = tmp_path / "pool.jsonl"
    rows = [{"prompt": f"w{i} ", "response_a": f"w{i % 7} w3", "response_b": f"w{i % 11} w9 w2"} for i in range(12)]
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    arguments = ["select", str(pool), "-m", str(tiny_model), "-k", "5", "-o", str(tmp_path / "out.jsonl")]
    arguments += ["-a", "activedpo", "--set", f"certificate={setting}", "--dimension", "32"]
    app(arguments, standalone_mode=False)
    assert bool(LINE.search(capsys.readouterr().out)) == printed
