"""A Label Studio server: batches pushed in pick order, votes pulled with annotator and time, over its API.

The key is a personal access token of Label Studio (Account & Settings), or a legacy token. It is read from the
environment, sent to the server alone, and never written or printed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Self, final
from xml.etree import ElementTree

import httpx2

from duelist.errors import DuelistError, RecipeError
from duelist.exchange.choices import CHOICES
from duelist.exchange.label_studio import OUTCOME, configuration, task_data
from duelist.exchange.tasks import Task
from duelist.settings.servers import server_url

KEY = "LABEL_STUDIO_API_KEY"
_AT_ONCE = 250  # tasks in one request
_TIMEOUT = 120.0  # seconds


@final
class LabelStudioServer:
    """Projects of a server. A `with` block closes its connections at the end.

    Args:
        url: the server's address, such as https://label-studio.example.org.
        transport: transport of the requests; None for the network.

    Raises:
        RecipeError: if the address is no URL, or the environment holds no key.
    """

    def __init__(self, url: str, transport: httpx2.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        key = os.environ.get(KEY, "").strip()
        if not key:
            raise RecipeError(
                f"Label Studio wants a key, but the environment variable {KEY} is not set: create a personal access "
                "token under Account & Settings, and export it under that name."
            )
        try:
            server_url(self.url)
        except ValueError as error:
            raise RecipeError(
                f"`--url` must be an address such as http://localhost:8080, but is {url!r}: correct it."
            ) from error
        self._key = key
        self._client = httpx2.Client(base_url=self.url + "/", timeout=_TIMEOUT, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def create_project(self, title: str, labels: int = 1) -> int:
        """Create a project with this package's configuration, and return its number.

        Args:
            title: its name.
            labels: annotations after which a task is finished.
        """
        settings = {
            "title": title[:50],  # Label Studio's limit
            "label_config": configuration(),
            "sampling": "Sequential sampling",
            "maximum_annotations": labels,
        }
        return int(self._request("POST", "api/projects/", json=settings)["id"])

    def push(self, project: int, tasks: list[Task]) -> tuple[int, int]:
        """Add the tasks that a project does not have yet, in pick order.

        Returns:
            The number of tasks added, and of those that were there.

        Raises:
            DuelistError: if the project has another configuration, or the server fails. Push again to go on.
        """
        self._require_configuration(project)
        there = {(item.get("data") or {}).get("question_id") for _, item in self.items(project, every=True)}
        new = [t for t in tasks if t.question.id not in there]
        rows = task_data(new)
        for start in range(0, len(rows), _AT_ONCE):
            self._request("POST", f"api/projects/{project}/import", json=rows[start : start + _AT_ONCE])
        return len(new), len(tasks) - len(new)

    def items(self, project: int, *, every: bool = False) -> Iterator[tuple[str, Any]]:
        """Yield the annotated tasks of a project as its JSON export has them; every task if wanted."""
        options = {"exportType": "JSON", "download_all_tasks": str(every).lower()}
        for task in self._request("GET", f"api/projects/{project}/export", params=options):
            yield f"task {task.get('id')} of project {project} at {self.url}", task

    def _require_configuration(self, project: int) -> None:
        config = str(self._request("GET", f"api/projects/{project}/").get("label_config", ""))
        try:
            choices = list(ElementTree.fromstring(config).iter("Choices"))
        except ElementTree.ParseError:
            choices = []
        if not any(set(CHOICES) <= {x.get("value") for x in c} for c in choices if c.get("name") == OUTCOME):
            raise DuelistError(
                f"Project {project} must have the configuration of `duelist export --format label-studio` "
                "(config.xml), but it has no such choices: set it under Settings, Labeling Interface, or leave "
                "--project out to create a project."
            )

    def _request(self, method: str, path: str, **options: Any) -> Any:
        try:
            if "Authorization" not in self._client.headers:
                self._client.headers["Authorization"] = self._authorization()
            answer = self._client.request(method, path, **options)
            if answer.status_code == 401 and self._key.count(".") == 2:  # access tokens live for minutes
                self._client.headers["Authorization"] = self._authorization()
                answer = self._client.request(method, path, **options)
            return _content(answer, path)
        except (httpx2.HTTPError, ValueError) as error:
            raise DuelistError(
                f"Label Studio at {self.url} must answer, but {method} {path} failed ({_brief(error)}): check the "
                "address, and run the command again. What was done before is not repeated."
            ) from error

    def _authorization(self) -> str:
        if self._key.count(".") != 2:
            return f"Token {self._key}"
        answer = self._client.post("api/token/refresh/", json={"refresh": self._key}, headers={"Authorization": ""})
        return f"Bearer {_content(answer, 'api/token/refresh/')['access']}"


def _content(answer: httpx2.Response, path: str) -> Any:
    if answer.status_code in (401, 403):
        raise DuelistError(
            f"Label Studio must accept the key in {KEY}, but answers {answer.status_code} to {path}: create a personal "
            "access token under Account & Settings, or ask for access to the project."
        )
    if answer.status_code == 404:
        raise DuelistError(f"Label Studio must know {path}, but answers 404: check the project's number and the URL.")
    if answer.status_code >= 300:
        raise httpx2.HTTPError(f"status {answer.status_code}: {answer.text[:200]}")
    return answer.json()


def _brief(error: Exception) -> str:
    return str(error).removesuffix(".") or type(error).__name__
