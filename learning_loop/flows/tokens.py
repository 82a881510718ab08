"""Tokens: who may do what over the network. The ledger has their digests, so that none can be read back from it."""

import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256

from learning_loop.app import App
from learning_loop.errors import NotFoundError, UsageError
from learning_loop.records import Event

TOKEN = "token"  # noqa: S105  (the kind of events about tokens)
SCOPES = ("read", "record", "steer", "admin")  # look; begin, end and rate runs; change what is learned; erase, and give tokens
MOST_DAYS = 3_650
PREFIX = "llt"
TAKEN = ("loop", "the loop", "local", "person", "a person")  # by whom else something may have been done


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token as it stands: `digest` is of its secret part, which is random, so that a plain one will do."""

    id: str
    name: str
    scopes: tuple[str, ...]
    digest: str
    created_at: datetime
    expires_at: datetime | None
    revoked: bool = False

    def allows(self, scope: str) -> bool:
        return "admin" in self.scopes or scope in self.scopes

    def stands(self, now: datetime) -> bool:
        return not self.revoked and (self.expires_at is None or now < self.expires_at)


def create_token(app: App, name: str, scopes: Iterable[str], *, days: float | None) -> tuple[Token, str]:
    """Make a token that lives for so many days, for ever with None; return it with its text, which is shown this once.

    Raise UsageError.
    """
    wanted = tuple(scope for scope in SCOPES if scope in set(scopes))
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise UsageError(f"there is no scope {unknown[0]!r}: use {', '.join(SCOPES)}")
    if not wanted or not name.strip():
        raise UsageError("a token needs a name, and a scope or more")
    if name.strip().lower() in TAKEN:
        raise UsageError(f"{name.strip()!r} would be taken for somebody else: choose another name")
    if any(token.name == name.strip() and token.stands(app.clock()) for token in tokens(app)):
        raise UsageError(f"there is a token {name.strip()!r} already: revoke it first, or choose another name")
    if days is not None and not 0 < days <= MOST_DAYS:
        raise UsageError(f"a token lives for more than 0 and at most {MOST_DAYS:,} days, or for ever")
    if any(ord(letter) < 32 for letter in name):
        raise UsageError("a token's name is one line")
    now, secret = app.clock(), secrets.token_urlsafe(32)
    expires = None if days is None else now + timedelta(days=days)
    token = Token(
        id=secrets.token_hex(4), name=name.strip(), scopes=wanted, digest=_digest(secret), created_at=now, expires_at=expires
    )
    data = {
        "action": "create",
        "name": token.name,
        "scopes": list(wanted),
        "sha256": token.digest,
        "expires_at": None if expires is None else expires.isoformat(),
    }
    app.ledger.append(Event(kind=TOKEN, subject=token.id, at=now, data=data))
    return token, f"{PREFIX}_{token.id}_{secret}"


def revoke_token(app: App, name: str) -> Token:
    """Take a token's rights away, named by its id or its name; raise NotFoundError."""
    found = [token for token in tokens(app) if name in (token.id, token.name) and not token.revoked]
    if not found:
        raise NotFoundError(f"there is no token {name!r}: see `learning-loop token list`")
    app.ledger.append(Event(kind=TOKEN, subject=found[-1].id, at=app.clock(), data={"action": "revoke"}))
    return replace(found[-1], revoked=True)


def tokens(app: App) -> list[Token]:
    """Return every token there ever was, the oldest first."""
    found: dict[str, Token] = {}
    for event in app.ledger.events(TOKEN):
        data = event.data
        if data["action"] == "revoke":
            found[event.subject] = replace(found[event.subject], revoked=True)
            continue
        expires = data["expires_at"]
        found[event.subject] = Token(
            id=event.subject,
            name=data["name"],
            scopes=tuple(data["scopes"]),
            digest=data["sha256"],
            created_at=event.at,
            expires_at=None if expires is None else datetime.fromisoformat(expires),
        )
    return list(found.values())


def token_of(known: Collection[Token], text: str, now: datetime) -> Token | None:
    """Return the token that a text is, if it stands."""
    prefix, _, rest = text.partition("_")
    name, _, secret = rest.partition("_")
    digest = _digest(secret)
    for token in known:
        if prefix == PREFIX and token.id == name and secrets.compare_digest(token.digest, digest) and token.stands(now):
            return token
    return None


def _digest(secret: str) -> str:
    return sha256(secret.encode("utf-8", "replace")).hexdigest()
