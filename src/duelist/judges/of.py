"""From a judge's settings to the judge."""

from __future__ import annotations

from pathlib import Path

from duelist.judges.base import Judge
from duelist.judges.config import JudgeConfig


def judge_of(config: JudgeConfig, folder: Path | None = None) -> Judge:
    """Return the judge that the settings describe. Models are loaded, and servers asked, at its first call.

    Args:
        config: the settings.
        folder: the study's folder, where verdicts that cost something are kept; None to keep them in memory. A folder
            in `config.cache` goes before it.

    Raises:
        RecipeError: if the function or the rubric cannot be read, or the variable with the API key is not set.
    """
    from duelist.judges.function import FunctionJudge

    return FunctionJudge(config)
