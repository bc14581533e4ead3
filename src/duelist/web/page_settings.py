"""What a study configures of the labelling page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from duelist.errors import RecipeError

KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "first": ("ArrowLeft", "1"),
        "second": ("ArrowRight", "2"),
        "tie": ("ArrowDown",),
        "both_bad": ("b",),
        "both_good": ("g",),
        "skip": ("s",),
        "undo": ("u",),
        "guidelines": ("?",),
        "diff": ("d",),
        "scroll_together": ("l",),
        "comment": ("c",),
        "submit": ("Enter",),
    }
)


@dataclass(frozen=True)
class PageSettings:
    """Settings of the labelling page and of the dashboard.

    Attributes:
        keys: keys by action, as KeyboardEvent.key names them; an action that is missing keeps its own.
        strength: whether a preference may be slight or clear.
        reasons: reasons to choose from.
        comment: whether a comment may be written.
        write_better: whether a better answer may be written after "both bad".
        guidelines: guidelines of the study, markdown.
        idle_after_seconds: time without input after which time counts as idle.
        hourly_wage: price of an hour of active time; None if people are not paid by it.
        currency: its currency.

    Raises:
        RecipeError: if an action is unknown, or two actions share a key.
    """

    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    strength: bool = False
    reasons: tuple[str, ...] = ()
    comment: bool = True
    write_better: bool = False
    guidelines: str = ""
    idle_after_seconds: float = 60.0
    hourly_wage: float | None = None
    currency: str = "EUR"

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.keys) - set(KEYS)):
            raise RecipeError(f"`keys` must name actions of the page, but has {unknown[0]!r}: use {', '.join(KEYS)}.")
        used: dict[str, str] = {}
        for action, keys in self.all_keys.items():
            for key in keys:
                if used.setdefault(key, action) != action:
                    raise RecipeError(
                        f"A key must have one action, but {key!r} has {used[key]} and {action}: change one."
                    )

    @property
    def all_keys(self) -> dict[str, tuple[str, ...]]:
        """The keys of every action."""
        return {**KEYS, **self.keys}
