"""Vocabulary, rules, prompts and demonstrations of a synthetic environment: pure NumPy, no model.

Dimension suffixes: C kinds, V response words, N prompts or demonstrations, T words.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duelist.seeding import generator
from duelist.world.settings import WorldSettings


@dataclass(frozen=True)
class Language:
    """Vocabulary of an environment.

    Attributes:
        kinds: first words of prompts, one per kind, C in all.
        details: other words of prompts, without meaning.
        words: words of responses, V in all.
    """

    kinds: tuple[str, ...]
    details: tuple[str, ...]
    words: tuple[str, ...]

    @staticmethod
    def of(settings: WorldSettings) -> Language:
        """Return the vocabulary for these settings."""
        return Language(
            kinds=tuple(f"kind{i}" for i in range(settings.kinds)),
            details=tuple(f"detail{i}" for i in range(settings.detail_words)),
            words=tuple(f"word{i}" for i in range(settings.response_words)),
        )


@dataclass(frozen=True)
class Rules:
    """Frequencies and preferences of the kinds.

    Attributes:
        frequency_X: each kind's frequency in use, decreasing, summing to 1; 0 for useless kinds.
        pool_frequency_X: each kind's frequency among the training prompts.
        styles_X2X: word numbers of each kind's preferred style (index 0) and other style (index 1).
        utility_XV: the utility of each word in a response to each kind of prompt, in [0, 1], to four decimals.
    """

    frequency_X: NDArray[np.float64]
    pool_frequency_X: NDArray[np.float64]
    styles_X2X: NDArray[np.int64]
    utility_XV: NDArray[np.float64]

    @staticmethod
    def of(settings: WorldSettings) -> Rules:
        """Draw the rules for these settings."""
        rng = generator(settings.seed, "world", "rules")
        C, V, S = settings.kinds, settings.response_words, settings.style_words
        useful = C - settings.useless_kinds
        frequency_X = np.asarray(1.0 / np.arange(1, C + 1) ** settings.zipf, dtype=np.float64)  # Zipf's law
        frequency_X[useful:] = 0.0
        frequency_X /= frequency_X.sum()
        pool_frequency_X = frequency_X * (1.0 - settings.useless_share)
        pool_frequency_X[useful:] = settings.useless_share / max(settings.useless_kinds, 1)
        styles_X2X = np.stack([rng.permutation(V)[: 2 * S].reshape(2, S) for _ in range(C)])
        middle_XV = np.full((C, V), settings.outside_utility)
        kind_X1 = np.arange(C)[:, None]
        middle_XV[kind_X1, styles_X2X[:, 0]] = settings.preferred_utility
        middle_XV[kind_X1, styles_X2X[:, 1]] = settings.other_utility
        utility_XV = middle_XV + settings.utility_spread * rng.uniform(-1, 1, size=(C, V))
        return Rules(frequency_X, pool_frequency_X, styles_X2X, np.clip(utility_XV, 0, 1).round(4))


@dataclass(frozen=True)
class Prompts:
    """N prompt texts and their kinds."""

    texts: tuple[str, ...]
    kind_N: NDArray[np.int64]


def draw_prompts(settings: WorldSettings, rules: Rules, language: Language) -> tuple[Prompts, Prompts]:
    """Draw the training prompts and the held-out prompts, all distinct.

    The kinds of training prompts are drawn with the kinds' frequencies in the pool, so a rare kind may have none. Each
    kind has the same number of held-out prompts; they are ordered by kind.
    """
    rng = generator(settings.seed, "world", "prompts")
    training_kind_N = rng.choice(settings.kinds, size=settings.prompts, p=rules.pool_frequency_X)
    held_out_kind_N = np.repeat(np.arange(settings.kinds), settings.held_out // settings.kinds)
    kind_N = np.concatenate([training_kind_N, held_out_kind_N])
    code_N = np.empty(len(kind_N), dtype=np.int64)
    for kind in range(settings.kinds):
        of_kind = np.flatnonzero(kind_N == kind)
        # A prompt's details are the digits of its code, so codes drawn without replacement give distinct prompts.
        code_N[of_kind] = rng.choice(_codes(settings), size=len(of_kind), replace=False)
    texts = _texts(settings, language, kind_N, code_N)
    n = settings.prompts
    return Prompts(texts[:n], training_kind_N), Prompts(texts[n:], held_out_kind_N)


def draw_demonstrations(
    settings: WorldSettings, rules: Rules, language: Language, held_out: Collection[str]
) -> list[tuple[str, str]]:
    """Draw the fine-tuning data: prompts with responses in one of the kind's two styles, equally often.

    There is one demonstration for each row of each fine-tuning batch. All kinds are equally frequent, so the model
    learns the styles of rare kinds too. A response's words are drawn from its style with replacement. With probability
    `noise`, a word is replaced by any response word.

    Args:
        settings: numbers of demonstrations, kinds and words.
        rules: the kinds' styles.
        language: the vocabulary.
        held_out: prompts to exclude.

    Returns:
        N pairs of prompt and response.
    """
    rng = generator(settings.seed, "world", "demonstrations")
    N, spread = settings.sft_steps * settings.sft_batch_size, settings.length_spread
    T = settings.response_tokens + spread
    kind_N = np.arange(N) % settings.kinds
    texts = list(_texts(settings, language, kind_N, rng.integers(_codes(settings), size=N)))
    while hidden := [i for i, text in enumerate(texts) if text in held_out]:
        redrawn = _texts(settings, language, kind_N[hidden], rng.integers(_codes(settings), size=len(hidden)))
        for i, text in zip(hidden, redrawn, strict=True):
            texts[i] = text
    style_N = np.arange(N) // settings.kinds % 2
    word_NT = np.take_along_axis(
        rules.styles_X2X[kind_N, style_N], rng.integers(settings.style_words, size=(N, T)), axis=1
    )
    any_word_NT = rng.integers(settings.response_words, size=(N, T))
    word_NT = np.where(rng.random((N, T)) < settings.noise, any_word_NT, word_NT)
    length_N = rng.integers(T - 2 * spread, T + 1, size=N)  # drawn last: a spread of 0 changes no other number
    responses = (
        " ".join(language.words[i] for i in word_T[:length])
        for word_T, length in zip(word_NT, length_N.tolist(), strict=True)
    )
    return list(zip(texts, responses, strict=True))


def _codes(settings: WorldSettings) -> int:
    return min(settings.prompts_per_kind, 2**62)  # the generator draws 64-bit integers


def _texts(
    settings: WorldSettings, language: Language, kind_N: NDArray[np.int64], code_N: NDArray[np.int64]
) -> tuple[str, ...]:
    texts = []
    for kind, code in zip(kind_N.tolist(), code_N.tolist(), strict=True):
        words = [language.kinds[kind]]
        for _ in range(settings.prompt_tokens - 1):
            code, digit = divmod(code, settings.detail_words)
            words.append(language.details[digit])
        texts.append(" ".join(words))
    return tuple(texts)
