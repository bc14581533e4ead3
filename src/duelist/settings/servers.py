"""Address of a server and its API key, as settings name them."""

from __future__ import annotations

import os

from duelist.errors import RecipeError


def server_url(url: str) -> str:
    """Return the address of a server as it is given.

    Raises:
        ValueError: if it is no URL with http or https and a server's name.
    """
    import httpx2

    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise ValueError(f"it must be a URL such as http://localhost:8000/v1, but is {url!r}: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(
            f"it must be a URL such as http://localhost:8000/v1, but is {url!r}: start it with http:// or https:// and "
            "the server's name."
        )
    return url


def authorization(variable: str | None, setting: str) -> dict[str, str]:
    """Return the header with the API key in an environment variable; none without a variable.

    Args:
        variable: the environment variable.
        setting: the setting that names it, for messages.

    Raises:
        RecipeError: if the variable is not set.
    """
    if variable is None:
        return {}
    key = os.environ.get(variable)
    if not key:
        raise RecipeError(
            f"{setting} must name an environment variable with a key, but {variable} is not set: set it, or set "
            f"{setting} to null."
        )
    return {"Authorization": f"Bearer {key}"}
