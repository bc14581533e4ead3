"""What a method's docstring says of it: `Reference`, `Formula`, `Unit` and `Cost`."""

from __future__ import annotations

import inspect
import sys

FIELDS = ("Reference", "Formula", "Unit", "Cost")


def described_in(docstring: str) -> dict[str, str]:
    """Return the text of each of `FIELDS` in a docstring; a field ends at the next field or at an empty line."""
    values = dict.fromkeys(FIELDS, "")
    current = None
    for line in docstring.splitlines():
        start = next((f for f in FIELDS if line.startswith((f"{f}:", f"{f}s:"))), None)
        if start is not None:
            current = start
            values[current] = line.partition(":")[2].strip()
        elif not line.strip():
            current = None
        elif current is not None:
            values[current] += " " + line.strip()
    return values


def reference_of(cls: type) -> str:
    """Return the reference of a component's class: its own, or that of its module; empty if neither has one."""
    own = described_in(inspect.cleandoc(cls.__doc__ or ""))["Reference"]
    return own or described_in(sys.modules[cls.__module__].__doc__ or "")["Reference"]
