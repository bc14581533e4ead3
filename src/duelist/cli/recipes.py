"""`duelist recipes`. Imports at module level only what `--help` needs."""

from __future__ import annotations

from duelist.cli.console import Json, mapping_table, out, print_json


def recipes(as_json: Json = False) -> None:
    """List the shipped recipes."""
    from duelist.recipe.shipped import recipe_descriptions

    found = recipe_descriptions()
    if as_json:
        print_json(found)
    else:
        out.print(mapping_table(found, "Recipes: duelist run NAME"))
