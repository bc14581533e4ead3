"""Settings of a decoding server."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from duelist.settings.servers import server_url


class ServerConfig(BaseModel):
    """Settings of a server that decodes the round's responses, and of the requests to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | tuple[str, ...] = Field(
        description="Root URL of the API, such as http://localhost:8000/v1, or a list of those of several servers that "
        "serve the same model. Each request goes to the least loaded one; when one fails, others do its work."
    )
    model: str = Field(description="Name of the base model on the server.")
    adapter_folder: str = Field(
        description="Folder that this process can write and the server can read under the same path."
    )
    api_key_variable: str | None = Field(
        default=None, description="Environment variable with the API key; null: no key is sent."
    )
    concurrency: int = Field(default=64, ge=1, description="Maximum number of concurrent requests to a server.")
    timeout: float = Field(default=600.0, gt=0, description="Timeout of a request, in seconds.")
    retries: int = Field(default=2, ge=0, description="Number of retries of a failed request.")
    recheck: float = Field(
        default=10.0,
        gt=0,
        description="Seconds between two checks of a server that failed; it is used again when it is up.",
    )
    on_failure: Literal["stop", "local"] = Field(
        default="stop",
        description="When every server fails: stop the study (run it again to resume), or decode in this process and "
        "note that in the round.",
    )

    @field_validator("url")
    @classmethod
    def _urls_of_servers(cls, url: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(url, str):
            return server_url(url)
        if not url:
            raise ValueError("it must name a server, but is an empty list: give a URL, or set `decoder: null`")
        if len(set(url)) < len(url):
            raise ValueError(f"each server must be named once, but {', '.join(url)} has one twice")
        return tuple(server_url(one) for one in url)

    @property
    def urls(self) -> tuple[str, ...]:
        """The servers."""
        return (self.url,) if isinstance(self.url, str) else self.url
