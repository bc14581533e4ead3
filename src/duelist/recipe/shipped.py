"""Recipes shipped with the package."""

from __future__ import annotations

from pathlib import Path

from duelist.data.sources import SUFFIXES
from duelist.errors import RecipeError
from duelist.settings.validation import expanded, nearest, read_yaml


def shipped_recipes() -> dict[str, Path]:
    """Return the paths of the shipped recipes, by name."""
    package = Path(__file__).parents[1]
    # An installed package contains them; in a checkout, they are next to `src`.
    folder = package / "shipped_recipes"
    folder = folder if folder.is_dir() else package.parents[1] / "recipes"
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.yaml")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        found[name.removesuffix("/recipe")] = path
    return found


def recipe_path(source: str | Path) -> Path:
    """Return the file of a recipe, given by its path or the name of a shipped recipe.

    Raises:
        RecipeError: if there is no such file or recipe.
    """
    shipped = shipped_recipes()
    if str(source) in shipped:
        return shipped[str(source)]
    path = expanded(source)
    if path.name.endswith(SUFFIXES):
        raise RecipeError(
            f"A recipe is a YAML file, but {source} is data: `duelist init my-study.yaml --prompts {source}` writes a "
            "recipe for it."
        )
    if path.is_file():
        return path
    raise RecipeError(
        f"A recipe is a YAML file or the name of a shipped recipe, but there is no {str(source)!r}."
        f"{nearest(str(source), shipped)} `duelist recipes` lists them, and `duelist init` writes one of your own."
    )


def recipe_descriptions() -> dict[str, str]:
    """Return the description of each shipped recipe, by name."""
    contents = {name: read_yaml(path.read_text(encoding="utf-8")) for name, path in shipped_recipes().items()}
    return {name: " ".join(str(content.get("description", "")).split()) for name, content in contents.items()}
