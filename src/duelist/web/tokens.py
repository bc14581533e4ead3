"""Personal tokens, the study's secret, and signed sessions."""

from __future__ import annotations

import hmac
import os
import secrets
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from itsdangerous import BadSignature, URLSafeSerializer

from duelist.errors import StorageError, unwritable_as_storage_error
from duelist.files.atomic import atomic_path
from duelist.web.record import Member
from duelist.web.tasks import Mode

_BYTES = 32


def new_token() -> str:
    """Return a fresh personal token: 256 random bits, safe in a URL."""
    return secrets.token_urlsafe(_BYTES)


@dataclass(frozen=True, repr=False)
class Secret:
    """Secret of one study: tokens are digested with it, and sessions signed."""

    key: bytes

    @staticmethod
    def fresh() -> Secret:
        """Return a new secret."""
        return Secret(secrets.token_bytes(_BYTES))

    @staticmethod
    def at(path: Path) -> Secret:
        """Return the secret in a file, which only its owner may read; create it if there is none.

        Raises:
            StorageError: if the file cannot be read or written, or holds no secret.
        """
        with unwritable_as_storage_error(path):
            if not path.exists():
                with atomic_path(path) as temporary:
                    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                    with os.fdopen(handle, "wb") as file:
                        file.write(secrets.token_bytes(_BYTES))
            key = path.read_bytes()
        if len(key) != _BYTES:
            raise StorageError(
                f"{path} must hold the study's secret of {_BYTES} bytes, but has {len(key)}: delete it, and invite "
                "everybody again."
            )
        return Secret(key)

    def digest(self, *parts: str) -> str:
        """Return the keyed digest of texts, in hexadecimal digits."""
        return hmac.new(self.key, "\0".join(parts).encode(), sha256).hexdigest()


@dataclass(frozen=True)
class Session:
    """Signed in person.

    Attributes:
        name: the annotator's name.
        revocations: how often access had been withdrawn when the session began.
        nonce: random text that the session's CSRF tokens are made from.
        began: seconds since 1970.
    """

    name: str
    revocations: int
    nonce: str
    began: float


@dataclass(frozen=True)
class Sessions:
    """Makes and checks session cookies.

    Attributes:
        secret: signs them.
        seconds: how long one is valid.
    """

    secret: Secret
    seconds: float = 12 * 3600.0

    @property
    def cookie(self) -> str:
        """Name of the cookie: one per study, because cookies of one host are shared by all its ports."""
        return f"duelist_{self.secret.digest('cookie')[:8]}"

    def begin(self, member: Member, now: datetime) -> str:
        """Return the cookie of a new session."""
        content = [member.name, member.revocations, secrets.token_urlsafe(16), now.timestamp()]
        return str(self._signer().dumps(content))

    def read(self, cookie: str, now: datetime) -> Session | None:
        """Return the session of a cookie; None if it is not ours, or has expired."""
        try:
            session = Session(*self._signer().loads(cookie))
        except (BadSignature, TypeError):
            return None
        return session if 0 <= now.timestamp() - session.began < self.seconds else None

    def csrf(self, session: Session, mode: Mode) -> str:
        """Return the CSRF token of a session's page; it also says which queue the page works on."""
        return self.secret.digest("csrf", session.nonce, mode)

    def mode(self, session: Session, csrf: str) -> Mode | None:
        """Return the queue of the page that a CSRF token was given to; None if the token is wrong."""
        modes: tuple[Mode, ...] = ("annotate", "adjudicate")
        valid = [m for m in modes if hmac.compare_digest(self.csrf(session, m).encode(), csrf.encode())]
        return valid[0] if valid else None

    def _signer(self) -> URLSafeSerializer:
        return URLSafeSerializer(self.secret.key, salt="duelist session", signer_kwargs={"digest_method": sha256})
