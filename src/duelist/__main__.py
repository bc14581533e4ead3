"""`python -m duelist` is the `duelist` command."""

from __future__ import annotations

from duelist.cli import main

main()
