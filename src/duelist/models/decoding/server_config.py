"""Settings of a server that decodes."""

from __future__ import annotations

from typing import Literal

import httpx2
from pydantic import BaseModel, ConfigDict, Field, field_validator


class ServerConfig(BaseModel):
    """A server that decodes the round's responses, and how it is spoken to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="The API's root, such as http://localhost:8000/v1.")
    model: str = Field(description="The base model's name on the server.")
    adapter_folder: str = Field(
        description="A folder that this process can write and the server can read, under the same path."
    )
    api_key_variable: str | None = Field(
        default=None, description="The environment variable with the API key; null: none is sent."
    )
    concurrency: int = Field(default=64, ge=1, description="Requests under way at a time.")
    timeout: float = Field(default=600.0, gt=0, description="Seconds until a request counts as failed.")
    retries: int = Field(default=2, ge=0, description="How often a request that failed is sent again.")
    on_failure: Literal["stop", "local"] = Field(
        default="stop",
        description="When the server fails: stop the study (it goes on when run again), or decode in this process, and "
        "note it in the round.",
    )

    @field_validator("url")
    @classmethod
    def _url_of_a_server(cls, url: str) -> str:
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL as error:
            raise ValueError(f"it must be a URL such as http://localhost:8000/v1, but is {url!r}: {error}") from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError(
                f"it must be a URL such as http://localhost:8000/v1, but is {url!r}: start it with http:// or https:// "
                "and the server's name."
            )
        return url
