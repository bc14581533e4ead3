"""A recipe with a cascade, whose judge and people prefer the response with the larger mean of word numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from outcomes import smaller

JUDGE = """
def number(text):
    numbers = [int(w[1:]) for w in text.split() if w[1:].isdigit()]
    return sum(numbers) / (40 * len(numbers)) if numbers else 0.0

def verdict(prompts, first, second, **columns):
    found = []
    for a, b in zip(first, second):
        a, b = number(a), number(b)
        sure = 0.6 + min(abs(a - b), 0.4)
        found.append((0, 0, 1) if a == b else (sure, 1 - sure, 0) if a > b else (1 - sure, sure, 0))
    return found
"""
AUDIT = 0.3


def cascade_of(tiny_recipe: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Two rounds, a judge that is always right and is written into a folder, and an error that six votes certify."""
    path = folder / "judge.py"
    path.write_text(JUDGE, encoding="utf-8")
    recipe = smaller(tiny_recipe)
    annotator = {
        "name": "cascade",
        "judge": {"function": f"{path}:verdict"},
        "people": recipe["annotator"],
        "max_error": 0.45,
        "audit_fraction": AUDIT,
    }
    train = {**recipe["trainer"]["train"], "num_train_epochs": 1, "per_device_train_batch_size": 8}
    return {
        **recipe,
        "budget": 12,
        "acquisition": {"name": "random"},
        "trainer": {"name": "dpo", "train": train},
        "annotator": annotator,
        "evaluation": {"max_new_tokens": 2, "every": 10},
    }
