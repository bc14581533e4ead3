"""Pages of the stub server, opened in the browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from page_questions import Question
from page_stub import PageStub, serving

DESKTOP = {"width": 1280, "height": 800}
PATIENCE_MS = 15_000

Opened = tuple[PageStub, Any]
Opener = Callable[..., Opened]


@pytest.fixture
def open_page(browser: Any) -> Iterator[Opener]:
    """Return `open_page(questions, viewport=..., context=..., still=..., quiet=..., **bootstrap) -> (stub, page)`.

    `still` stops the page's clock, which the test then moves. After the test, no act may have broken the contract and
    no request may have left for another host. If `quiet`, the console must be free of errors other than those of
    failed requests.
    """
    opened: list[tuple[PageStub, list[str], list[str], list[str]]] = []
    with ExitStack() as stack:

        def open_(
            questions: list[Question],
            viewport: dict[str, int] = DESKTOP,
            context: dict[str, Any] | None = None,
            still: bool = False,
            quiet: bool = True,
            **bootstrap: Any,
        ) -> Opened:
            stub = stack.enter_context(serving(PageStub(questions, **bootstrap)))
            window = browser.new_context(viewport=viewport, **(context or {}))
            stack.callback(window.close)
            window.set_default_timeout(PATIENCE_MS)
            if still:
                window.clock.install(time=0)
                window.clock.pause_at(1000)
            requests: list[str] = []
            blocked: list[str] = []  # by the content-security policy: no request left
            errors: list[str] = []
            window.on(
                "requestfailed", lambda request: blocked.append(request.url) if "csp" in request.failure else None
            )
            window.on("request", lambda request: requests.append(request.url))
            if quiet:
                window.on("weberror", lambda error: errors.append(str(error.error)))
                window.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
            opened.append((stub, requests, blocked, errors))
            page = window.new_page()
            page.goto(f"{stub.url}/join/{stub.session}")
            return stub, page

        yield open_
    for stub, requests, blocked, errors in opened:
        assert stub.violations == []
        elsewhere = {url for url in requests if not url.startswith((stub.url, "data:"))}
        assert elsewhere <= set(blocked)
        assert [error for error in errors if "Failed to load resource" not in error] == []


@pytest.fixture
def current() -> Callable[[Any], str]:
    """Return a function that waits for a question and returns its id."""

    def current_(page: Any) -> str:
        page.wait_for_selector("#question:not([hidden]) [data-response]")
        return str(page.get_attribute("[data-response]", "data-response")).rpartition("-")[0]

    return current_


@pytest.fixture
def on_screen() -> Callable[[Any, str], None]:
    """Return a function that waits until the question with this id is on the screen."""

    def on_screen_(page: Any, question: str) -> None:
        page.wait_for_selector(f'#question:not([hidden]) [data-response="{question}-0"]')

    return on_screen_
