"""The `duelist` command, one file per command."""
