"""The recipes that come with the package."""

from __future__ import annotations

from pathlib import Path

from duelist.errors import RecipeError
from duelist.settings.validation import expanded, nearest, read_yaml


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    package = Path(__file__).parents[1]
    # Installed, they lie inside the package; in a checkout, beside `src`.
    folder = package / "shipped_recipes"
    folder = folder if folder.is_dir() else package.parents[1] / "recipes"
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.yaml")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        found[name.removesuffix("/recipe")] = path
    return found


def recipe_path(source: str | Path) -> Path:
    """The file of a recipe, given by path or by a shipped name.

    Raises:
        RecipeError: if there is none.
    """
    shipped = shipped_recipes()
    if str(source) in shipped:
        return shipped[str(source)]
    path = expanded(source)
    if path.is_file():
        return path
    raise RecipeError(
        f"A recipe is a YAML file or the name of a shipped recipe, but there is no {str(source)!r}."
        f"{nearest(str(source), shipped)} `duelist recipes` lists them."
    )


def recipe_descriptions() -> dict[str, str]:
    """What each shipped recipe shows, by name."""
    contents = {name: read_yaml(path.read_text(encoding="utf-8")) for name, path in shipped_recipes().items()}
    return {name: " ".join(str(content.get("description", "")).split()) for name, content in contents.items()}
