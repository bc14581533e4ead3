"""docs/first_study.md: from a model and prompts to a trained adapter, by the commands that it gives."""

from __future__ import annotations

import io
import json
import re
import shlex
import textwrap
from pathlib import Path

import pytest
import yaml
from cli_results import Command, lines

DOC = Path(__file__).parents[2] / "docs" / "first_study.md"
PROMPTS = [
    *({"messages": [{"role": "user", "content": f"w{i}"}, {"role": "assistant", "content": "w1"}]} for i in range(20)),
    *({"prompt": [{"role": "user", "content": f"w{i}"}]} for i in range(20, 40)),
]


@pytest.fixture
def commands(duelist: Command, tiny_model: Path) -> list[list[str]]:
    """The commands of the page after the installation, in a folder with what they name."""
    text = DOC.read_text(encoding="utf-8")
    install, *others = re.findall(r"^```sh\n(.*?)```", text, re.M | re.S)[0].splitlines()
    assert install.startswith("pip install") and len(others) == 4
    Path("my-model").symlink_to(tiny_model)
    Path("prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PROMPTS), encoding="utf-8")
    (code,) = re.findall(r"```python\n( +def score.*?)```", text, re.S)
    Path("my_reward.py").write_text(textwrap.dedent(code), encoding="utf-8")
    return [shlex.split(command)[1:] for command in others]


def test_the_recipe_is_written_once_and_planned(commands: list[list[str]], duelist: Command) -> None:
    _, init, dry_run, _ = commands
    done = duelist(*init)
    assert done.code == 0 and "duelist run my-study.yaml" in done.out
    text = Path("my-study.yaml").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 40 and yaml.safe_load(text)["rounds"] == 5
    assert "my-study.yaml exists" in duelist(*init).error
    assert Path("my-study.yaml").read_text(encoding="utf-8") == text
    planned = duelist(*dry_run)
    assert planned.code == 0 and "100" in planned.err and "Not checked" in planned.err
    assert not Path("studies").exists()


def test_what_no_option_gives_is_asked_for(
    commands: list[list[str]], duelist: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = duelist("init", "other.yaml", "--model", "my-model").error
    assert "--prompts, --labels, --budget are missing" in error and not Path("other.yaml").exists()
    answers = io.StringIO("my-model\nprompts.jsonl\nreward_function\nmy_reward.py:score\n10\n")
    answers.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdin", answers)
    assert duelist("init", "other.yaml", "--max-new-tokens", "32").code == 0
    assert yaml.safe_load(Path("other.yaml").read_text(encoding="utf-8"))["budget"] == 2


@pytest.mark.full
def test_five_commands_give_a_trained_adapter(commands: list[list[str]], duelist: Command) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    for command in commands:
        done = duelist(*command)
        assert done.code == 0, done.err
    folder = Path("studies/my-study")
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("my-model"), folder / "adapter")
    assert lines(folder / "metrics.jsonl")[-1]["labels"] == 100
    assert "| `preferences.jsonl` |" in (folder / "README.md").read_text(encoding="utf-8")
