"""API keys of other services: named in a recipe as `${NAME}`, read from the environment, and never written to disk.

A recipe is copied into the folder of every study. The copy keeps the reference. The variable is read when a component
is created, and only that component sees its value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from duelist.errors import RecipeError

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# Prefixes of keys: Hugging Face, OpenAI and Anthropic, Stripe, Groq, xAI, NVIDIA, Perplexity, Replicate, GitHub,
# GitLab, Slack, AWS, Google, DigitalOcean, LangSmith, npm, PyPI.
PREFIXES = (
    *("hf_", "api_org_", "sk-", "sk_live_", "rk_live_", "gsk_", "xai-", "nvapi-", "pplx-", "r8_"),
    *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "xoxa-", "xapp-"),
    *("AKIA", "ASIA", "AIza", "ya29.", "dop_v1_", "lsv2_", "npm_", "pypi-"),
)
_PREFIX = "|".join(map(re.escape, PREFIXES))
_WORD = re.compile(rf"(?:{_PREFIX})[\w.-]{{3,}}")
# In longer text, or where a name is expected, `hf_models/llama` and `hf_reward.py:score` are not keys.
_LIKELY = re.compile(rf"(?<![\w-])({_PREFIX})(?=[\w-]*\d[\w-]*|[A-Za-z0-9]{{16}})[\w-]{{8,}}(?![/:\w-]|\.\w)")
# Parts of a recipe with free values, and names of settings that are expected to hold a key.
_FREE = {"arguments", "load", "settings", "train"}
_NAMED = re.compile(r"(key|token|secret|password|auth|authorization|credentials?)$", re.IGNORECASE)


def require_no_credentials(value: Any, *path: str) -> None:
    """Reject a value with the prefix of a well-known service's API key.

    Args:
        value: a recipe's content, or a part of it.
        path: the keys that lead to it.

    Raises:
        RecipeError: if there is one; the message names the key in the recipe, without the value.
    """
    if isinstance(value, Mapping):
        for key, part in value.items():
            require_no_credentials(part, *path, str(key))
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            require_no_credentials(part, *path, str(i))
    elif isinstance(value, str):
        free = _FREE & set(path) or any(_NAMED.search(key) for key in path[-1:])
        if _LIKELY.search(value) or (free and _WORD.fullmatch(value)):
            raise RecipeError(
                f"A recipe is written into the study's folder, so it must not hold a key to a service, but "
                f"`{'.'.join(path)}` begins or goes on as one ({_prefix(value)}...): put the key into an environment "
                "variable, and write `${NAME}` with that variable's name."
            )


def with_credentials(value: Any) -> Any:
    """Return the value with every `${NAME}` in its texts replaced by that environment variable.

    Raises:
        RecipeError: if a variable is not set.
    """
    if isinstance(value, str):
        return REFERENCE.sub(_variable, value)
    if isinstance(value, Mapping):
        return {key: with_credentials(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(with_credentials, value))
    if isinstance(value, BaseModel):
        return value.model_copy(update={name: with_credentials(part) for name, part in value})
    return value


def _variable(reference: re.Match[str]) -> str:
    found = os.environ.get(reference[1])
    if not found:
        raise RecipeError(
            f"The recipe's `{reference[0]}` stands for an environment variable that must be set, but {reference[1]} is "
            "not: export it, then run the same command again."
        )
    return found


def _prefix(value: str) -> str:
    return next(prefix for prefix in sorted(PREFIXES, key=len, reverse=True) if prefix in value)
