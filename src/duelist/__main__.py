"""Entry point of `python -m duelist`, the same as the `duelist` command."""

from __future__ import annotations

from duelist.cli.app import main

main()
