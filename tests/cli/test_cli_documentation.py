"""Every command and option has its help, and docs/reference/cli.md says the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from duelist.cli.app import app

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
MARK = "what follows. -->\n"
TOP: Any = typer.main.get_command(app).commands  # type: ignore[attr-defined]
# Commands of a group, `annotators`, come with its name.
COMMANDS: dict[str, Any] = {
    words: command
    for name, one in TOP.items()
    for words, command in [(name, one), *((f"{name} {sub}", x) for sub, x in getattr(one, "commands", {}).items())]
}


def reference() -> str:
    """Every command with its arguments and options, in Markdown, from the commands' own help."""
    group: Any = typer.main.get_command(app)
    parts = ["\n".join(["## `duelist [OPTIONS] COMMAND`", "", group.help, "", *map(described, group.params)])]
    for name, command in sorted(COMMANDS.items()):
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option"]
        last = "COMMAND" if hasattr(command, "commands") else "[OPTIONS]"
        usage = " ".join([name, *(p.metavar for p in arguments), last])
        lines = [f"## `duelist {usage}`", "", command.help, ""]
        lines += [f"- `{p.metavar}`: {p.help}" for p in arguments]
        parts.append("\n".join([*lines, *map(described, options)]))
    return "\n" + "\n\n".join(parts) + "\n"


def described(option: Any) -> str:
    """An option's line: its names, what it is for, whether it must be given, and its default."""
    value = "" if option.is_flag else f" {option.metavar or option.name.upper()}"
    names = ", ".join(f"`{o}{value}`" for o in option.opts)
    default = "" if option.default in (None, False) else f" Default: `{option.default}`."
    return f"- {names}: {option.help}{' Required.' if option.required else ''}{default}"


@pytest.mark.parametrize(
    "words", [[], *(name.split() for name in COMMANDS)], ids=lambda words: "-".join(words) or "duelist"
)
def test_help_on_everything(words: list[str]) -> None:
    done = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == 0
    assert "Usage: " in done.output
    for name in TOP if not words else [o for p in COMMANDS[" ".join(words)].params for o in p.opts if o[0] == "-"]:
        assert name in done.output


def test_every_command_and_option_has_help() -> None:
    for name, command in COMMANDS.items():
        assert command.help, name
        for p in command.params:
            assert p.help, (name, p.name)


def test_the_documentation_says_what_the_help_says() -> None:
    _, _, written = DOCS.read_text(encoding="utf-8").partition(MARK)
    assert written == reference(), "Write it anew with `python tests/cli/test_cli_documentation.py`."


if __name__ == "__main__":
    head, mark, _ = DOCS.read_text(encoding="utf-8").partition(MARK)
    DOCS.write_text(head + mark + reference(), encoding="utf-8")
