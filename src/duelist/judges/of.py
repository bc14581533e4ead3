"""From a judge's settings to the judge."""

from __future__ import annotations

from pathlib import Path

from duelist.judges.base import Judge
from duelist.judges.config import JudgeConfig
from duelist.settings.validation import expanded


def judge_of(config: JudgeConfig, folder: Path | None = None) -> Judge:
    """Return the judge that the settings describe. Models are loaded, and servers asked, at its first call.

    Args:
        config: the settings.
        folder: the folder in which the study keeps verdicts; None to keep them in memory. `config.cache` goes before
            it.

    Raises:
        RecipeError: if the function or the rubric cannot be read, or the variable with the API key is not set.
    """
    place = folder if config.cache is None else expanded(config.cache)
    if config.kind == "function":
        from duelist.judges.function import FunctionJudge

        return FunctionJudge(config)
    if config.kind == "reward_model":
        from duelist.judges.reward_model import RewardModelJudge

        return RewardModelJudge(config)
    if config.kind == "server":
        from duelist.judges.server import ServerJudge

        return ServerJudge(config, place)
    from duelist.judges.language_model import LanguageModelJudge

    return LanguageModelJudge(config, place)
