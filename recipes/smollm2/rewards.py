"""Rewards that are known and mean something. TRL's trainers call reward functions in the same way."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from duelist.errors import RewardError


def sentiment(prompts: list[Any], completions: list[Any], **columns: list[Any]) -> list[float]:
    """Return the sentiment of each completion, from −1 to 1: VADER's compound score (Hutto and Gilbert, 2014).

    Raises:
        RewardError: if vaderSentiment is not installed.
    """
    return [float(_vader().polarity_scores(_text(c))["compound"]) for c in completions]


def readability(prompts: list[Any], completions: list[Any], **columns: list[Any]) -> list[float]:
    """Return how easy each completion is to read: 0 for the first school year or no word, −1 for ten years later.

    Minus a tenth of the automated readability index (Smith and Senter, 1967), 4.71 characters/words +
    0.5 words/sentences − 21.43, limited to 0 to 20 years.
    """
    return [-_school_years(_text(c)) / 10 for c in completions]


def _school_years(text: str) -> float:
    words = re.findall(r"\w+", text)
    if not words:
        return 0.0
    sentences = max(1, len(re.findall(r"[.!?]+(?:\s|$)", text)))
    index = 4.71 * sum(map(len, words)) / len(words) + 0.5 * len(words) / sentences - 21.43
    return min(max(index, 0.0), 20.0)


@cache
def _vader() -> Any:
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError as error:
        raise RewardError(
            "The sentiment is scored by vaderSentiment, but it is not installed: `pip install vaderSentiment`, or use "
            "the reward `readability` of the same file."
        ) from error
    return SentimentIntensityAnalyzer()


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else str(completion[-1]["content"])
