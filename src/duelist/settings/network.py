"""Offline mode of the Hugging Face libraries where the Hub does not answer: they would retry for minutes instead."""

from __future__ import annotations

import os
import socket
import threading
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

OFFLINE = "HF_HUB_OFFLINE"  # read by huggingface_hub, transformers and datasets when they are imported
ENDPOINT = "HF_ENDPOINT"
SECONDS = 1.0


def hub_answers(seconds: float = SECONDS) -> bool:
    """Return whether a connection to the Hub, or to the proxy on the way there, opens within `seconds`."""
    endpoint = urlsplit(os.environ.get(ENDPOINT) or "https://huggingface.co")
    host = endpoint.hostname or ""
    proxy = "" if proxy_bypass(host) else getproxies().get(endpoint.scheme, "")
    address = urlsplit(proxy if "//" in proxy else f"//{proxy}") if proxy else endpoint
    port = address.port or (443 if address.scheme == "https" else 80)
    opened = threading.Event()

    def connect() -> None:
        try:
            with socket.create_connection((address.hostname or "", port), timeout=seconds):
                opened.set()
        except OSError:
            return

    thread = threading.Thread(target=connect, daemon=True)  # a name server that does not answer blocks longer
    thread.start()
    thread.join(seconds)
    return opened.is_set()


def go_offline_without_hub() -> str | None:
    """Set `HF_HUB_OFFLINE` for this process and its children if the Hub does not answer. Call it before they import.

    Returns:
        What was done, in one sentence; None if the Hub answers, or the variable is set already.
    """
    if OFFLINE in os.environ or hub_answers():
        return None
    os.environ[OFFLINE] = "1"
    return (
        f"The Hugging Face Hub did not answer within {SECONDS:g} s: only files on this machine are used ({OFFLINE}=1; "
        f"set {OFFLINE}=0 to wait for it)."
    )
