"""Offline mode where the Hub does not answer."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from duelist.settings import network
from duelist.settings.network import ENDPOINT, OFFLINE, go_offline_without_hub, hub_answers


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OFFLINE, "to be restored")
    monkeypatch.delenv(OFFLINE)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_hub_that_answers_keeps_the_process_online(listening: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{listening}")
    assert hub_answers() and go_offline_without_hub() is None and OFFLINE not in os.environ


def test_a_hub_that_refuses_makes_it_offline_in_one_sentence(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{closed_port}")
    said = go_offline_without_hub()
    assert said is not None and "\n" not in said and "HF_HUB_OFFLINE=1" in said and os.environ[OFFLINE] == "1"
    assert go_offline_without_hub() is None  # it is set


def test_a_name_server_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()

    def connect(*_: object, **__: object) -> None:
        done.wait()
        raise OSError

    monkeypatch.setattr(network.socket, "create_connection", connect)
    assert not hub_answers(0.01)
    done.set()


@pytest.mark.parametrize("value", ["0", "1"])
def test_the_variable_that_is_set_is_respected(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OFFLINE, value)
    monkeypatch.setattr(network, "hub_answers", lambda: pytest.fail("not asked"))
    assert go_offline_without_hub() is None and os.environ[OFFLINE] == value


def test_behind_a_proxy_the_proxy_is_asked(listening: int, closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, f"http://hub.invalid:{closed_port}")
    monkeypatch.setattr(network, "proxy_bypass", lambda host: False)
    monkeypatch.setattr(network, "getproxies", lambda: {"http": f"http://127.0.0.1:{listening}"})
    assert hub_answers()
