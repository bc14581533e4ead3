"""`python -m duelist` is the `duelist` command."""

from __future__ import annotations

from duelist.cli.app import main

main()
