"""What is shown of long work where there is no terminal."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from duelist.cli import console
from duelist.cli.console import TerminalProgress, rate


def test_long_work_says_how_far_it_is_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: now))
    out = io.StringIO()
    with TerminalProgress(Console(file=out, width=40)).stage("Gradients", 10_000) as advance:
        advance(4_000)  # found in a folder: no work of this run
        for _ in range(8):
            now += 4.0
            advance(500)
    assert out.getvalue() == (
        "Gradients: 5,500 of 10,000, 125.0/s, 0:00:36 left\nGradients: 7,000 of 10,000, 125.0/s, 0:00:24 left\n"
    )


def test_slow_work_has_a_rate_too(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: now))
    out = io.StringIO()
    with TerminalProgress(Console(file=out, width=40)).stage("Training", 10) as advance:
        for _ in range(2):
            now += 40.0
            advance(1)
    assert (
        out.getvalue() == "Training: 1 of 10, 40.0 s each, 0:06:00 left\nTraining: 2 of 10, 40.0 s each, 0:05:20 left\n"
    )
    assert [rate(speed) for speed in (1234.5, 1.0, 0.96, 0.001)] == [
        "1,234.5/s",
        "1.0/s",
        "1.0 s each",
        "1,000.0 s each",
    ]
    bar = console._Throughput()
    assert [str(bar.render(SimpleNamespace(speed=speed))) for speed in (None, 0.0, 0.02, 3.0)] == [  # type: ignore[arg-type]
        "", "", "50.0 s each", "3.0/s",
    ]  # fmt: skip


def test_short_work_leaves_no_trace_in_a_file() -> None:
    out = io.StringIO()
    with TerminalProgress(Console(file=out)).stage("Gradients", 3) as advance:
        for _ in range(3):
            advance(1)
    assert out.getvalue() == ""


def test_a_hub_that_does_not_answer_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from duelist.cli.console import go_offline_if_unreachable

    monkeypatch.setattr("duelist.settings.network.go_offline_without_hub", lambda: "The Hub did not answer.")
    go_offline_if_unreachable(silent=True)
    assert capsys.readouterr() == ("", "")
    go_offline_if_unreachable(silent=False)
    assert capsys.readouterr() == ("", "The Hub did not answer.\n")
