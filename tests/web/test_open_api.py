"""The OpenAPI document: no request that can be made from it brings an error of the server."""

from __future__ import annotations

from typing import Any

import pytest
from desk_world import desk_with
from http_world import BASE, world
from hypothesis import given

from duelist.web.assignment import DeskSettings

PATHS = [
    *("/api/next", "/api/acts", "/api/undo", "/api/history", "/api/shown"),
    *("/api/owner/state", "/api/owner/pause", "/api/owner/invite", "/api/owner/revoke", "/api/owner/overlap"),
]
ENDLESS = "/owner/events"


def test_the_document_describes_the_api() -> None:
    document = world().app.openapi()
    assert set(document["paths"]) == {*PATHS, ENDLESS}
    act = document["components"]["schemas"]["ActForm"]
    assert act["additionalProperties"] is False and "act_id" in act["required"]


@pytest.mark.full
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("who", ["owner", "annotator", "nobody"])
def test_no_request_brings_an_error_of_the_server(path: str, who: str) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="the API is searched with schemathesis")
    place = world(desk_with(5, DeskSettings(labels=3)))
    people = {"owner": place.person("olga", "owner"), "annotator": place.person("ann")}
    person = people.get(who)
    client = place.browser() if person is None else person.client
    headers = {} if person is None else {"X-CSRF-Token": person.csrf, "Origin": BASE}
    operations = [x.ok() for x in schemathesis.openapi.from_dict(place.app.openapi()).get_all_operations()]
    (operation,) = (x for x in operations if x.path == path)

    @given(case=operation.as_strategy())
    def search(case: Any) -> None:
        prepared = case.as_transport_kwargs(base_url=BASE, headers=headers)
        prepared.pop("cookies", None)
        found = client.request(**prepared)
        assert found.status_code < 500, found.text
        if found.status_code >= 400:
            assert set(found.json()) == {"error", "message"}

    search()
