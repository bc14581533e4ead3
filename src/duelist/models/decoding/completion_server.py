"""One server with OpenAI's completions API and vLLM's endpoints for adapters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

import httpx2

from duelist.models.decoding.server_config import ServerConfig
from duelist.settings.servers import authorization

CHECK_TIMEOUT = 10.0  # seconds for a question that a healthy server answers at once


class ServerFailed(Exception):
    """Error: a server is down, answers with errors, or no longer has what was loaded into it. Another may do it."""


class RequestRefused(Exception):
    """Error: a server answered, but not with what was asked for. Another server would answer the same."""


@final
class CompletionServer:
    """Requests to one server, each repeated `retries` times after a lost connection or a server error.

    Args:
        url: root URL of its API.
        config: settings of the requests.
        transport: transport of the requests; None for the network.
    """

    def __init__(self, url: str, config: ServerConfig, transport: httpx2.BaseTransport | None = None) -> None:
        self.url = url
        self._retries = config.retries
        self._check_timeout = min(config.timeout, CHECK_TIMEOUT)
        self._client = httpx2.Client(
            base_url=url.rstrip("/") + "/",
            timeout=config.timeout,
            headers=authorization(config.api_key_variable, "decoder.api_key_variable"),
            limits=httpx2.Limits(max_connections=config.concurrency + 1),
            transport=transport,
        )

    def close(self) -> None:
        """Close the connections. Requests in flight end with an error."""
        self._client.close()

    def models(self) -> set[str]:
        """Return the names of the models on the server.

        Raises:
            ServerFailed: if it does not answer.
            RequestRefused: if its answer is no list of models.
        """
        match _content(self._again(lambda: self._client.get("models", timeout=self._check_timeout))):
            case {"data": [*models]} if all(isinstance(m, dict) and "id" in m for m in models):
                return {str(m["id"]) for m in models}
        raise RequestRefused("models must answer with a list of them, but did not: is this the API's root?")

    def post(self, path: str, content: Mapping[str, Any]) -> httpx2.Response:
        """Send a request and return its successful answer.

        Raises:
            ServerFailed: if the server does not answer, answers with a server error, or does not know the model.
            RequestRefused: if it refuses the request.
        """
        return self._again(lambda: self._client.post(path, json=dict(content)))

    def complete(self, content: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send a request for a completion and return the answer's JSON; errors as of `post`."""
        return _content(self.post("completions", content))

    def _again(self, send: Callable[[], httpx2.Response]) -> httpx2.Response:
        failure = "it was not asked"
        for _ in range(self._retries + 1):
            try:
                answer = send()
            except (httpx2.TransportError, RuntimeError) as error:  # RuntimeError: the client was closed
                failure = str(error).removesuffix(".") or type(error).__name__
                continue
            if answer.is_success:
                return answer
            failure = f"{answer.request.url.path} answered {answer.status_code}: {answer.text[:300]}"
            if answer.status_code == 404:  # started anew, a server no longer has the adapter
                break
            if answer.status_code < 500:
                raise RequestRefused(failure)
        raise ServerFailed(failure)


def _content(answer: httpx2.Response) -> Mapping[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise RequestRefused(f"{answer.request.url.path} must answer with JSON, but came with {answer.text[:300]!r}")
    return content
