"""The server process: where it listens, who may reach it, and how it ends."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import uvicorn

from duelist.errors import DuelistError
from duelist.web.app import create_app
from duelist.web.commands import Tell
from duelist.web.dashboard import Statistics
from duelist.web.desk import Desk
from duelist.web.guard import Limits
from duelist.web.page_settings import PageSettings
from duelist.web.protocol import TimelyHeads
from duelist.web.record import Role
from duelist.web.roster import Roster
from duelist.web.tokens import Secret

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_END_SECONDS = 3  # for requests in progress


@dataclass(frozen=True)
class ServerSettings:
    """Where the server listens, and who may reach it.

    Attributes:
        host: address to listen on.
        port: port to listen on; 0 for any that is free.
        public: whether other machines may reach it.
        certificate: file of the TLS certificate, PEM.
        key: file of its private key, PEM.
        trusted_proxy: address of a proxy that speaks TLS with browsers; its forwarding headers are believed.
        address: address that browsers use, `https://label.example.org`; needed if `public`.

    Raises:
        DuelistError: if the server would be reachable without TLS, or settings contradict one another.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    public: bool = False
    certificate: Path | None = None
    key: Path | None = None
    trusted_proxy: str | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise DuelistError("TLS needs a certificate and its key, but only one is given: give both files.")
        for file in (self.certificate, self.key):
            if file is not None and not file.is_file():
                raise DuelistError(f"A TLS file must exist, but {file} does not: correct the path.")
        if self.public:
            if self.certificate is None and self.trusted_proxy is None:
                raise DuelistError(
                    "A public server must use TLS, but there is neither a certificate nor a trusted proxy: give "
                    "--certificate and --key, or --trusted-proxy with the address of a proxy that has them."
                )
            if self.address is None or urlsplit(self.address).scheme != "https" or not urlsplit(self.address).hostname:
                raise DuelistError(
                    f"A public server must know its https address, but it is {self.address!r}: give --address "
                    "https://NAME as browsers open it."
                )
        elif not _is_loopback(self.host):
            raise DuelistError(
                f"Other machines may reach the server only with --public, but --host is {self.host}: leave out --host "
                "for this machine alone, or run `duelist annotate` with --public, and TLS files or a trusted proxy."
            )

    @property
    def limits(self) -> Limits:
        """Limits of a request: the hosts by which the server may be called, and whether by TLS."""
        own = () if self.address is None else (urlsplit(self.address).hostname or "",)
        return Limits(hosts=(*own, *_LOOPBACK), tls=self.certificate is not None or self.public)


@dataclass(frozen=True)
class Served:
    """A running server.

    Attributes:
        address: as browsers open it.
        local: as this machine opens it.
        roster: people who may sign in.
    """

    address: str
    local: str
    roster: Roster

    def link(self, name: str, role: Role) -> str:
        """Return a new personal link for a person."""
        return f"{self.address}/join/{self.roster.invite(name, role)}"


@contextmanager
def serving(
    desk: Desk,
    secret: Secret,
    settings: ServerSettings | None = None,
    page: PageSettings | None = None,
    statistics: Statistics | None = None,
    tell: Tell | None = None,
) -> Iterator[Served]:
    """Serve the desk from a thread of this process during the block. Requests in progress are finished at its end.

    Raises:
        DuelistError: if the address cannot be listened on.
    """
    settings = settings or ServerSettings()
    listening = _listen(settings.host, settings.port)
    scheme = "https" if settings.certificate is not None else "http"
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    local = f"{scheme}://{'127.0.0.1' if host in ('0.0.0.0', '::') else shown}:{port}"
    address = (settings.address or local).rstrip("/")
    app = create_app(
        desk,
        secret,
        page,
        settings.limits,
        statistics=statistics,
        tell=tell,
        address=address,
        stopping=lambda: bool(server.should_exit),
    )
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=TimelyHeads,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,  # it would write personal tokens; the guard logs without them
        server_header=False,
        proxy_headers=settings.trusted_proxy is not None,
        forwarded_allow_ips=settings.trusted_proxy,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
        timeout_graceful_shutdown=_END_SECONDS,
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, kwargs={"sockets": [listening]}, name="duelist-server", daemon=True)
    thread.start()
    try:
        yield Served(address, local, Roster(desk, secret))
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sends small packets at once only on sockets that name it; otherwise every
    # answer would wait some 40 ms for the acknowledgement of its headers.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(512)
        return listening
    except OSError as error:
        listening.close()
        raise DuelistError(
            f"The server must be able to listen on {host}, port {port}, but it cannot: {error}. Stop what uses the "
            "port, or give another `--port`; 0 takes any that is free."
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
