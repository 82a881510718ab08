"""Who asks, and what they may do: tokens, sessions of browsers, and on the loopback, while there is no token, everybody."""

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, params
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from learning_loop.app import App
from learning_loop.flows.tokens import TOKEN, Token, token_of, tokens

COOKIE = "learning_loop_session"
MOST_SESSIONS, MOST_CLIENTS = 10_000, 10_000
TRIES, TRIES_S = 10, 60.0  # wrong tokens from one address before it has to wait
LOOK_S = 1.0  # how long a token that was revoked may go on


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: the name that what they do is put on record with, and their token; without one they may do everything."""

    name: str
    token: Token | None = None
    session: str | None = None

    def may(self, scope: str) -> bool:
        return self.token is None or self.token.allows(scope)


LOCAL = Actor("local")


class Access:
    """The tokens of a workspace, as they stand, and the sessions that were opened with them."""

    def __init__(self, app: App, *, session_s: float) -> None:
        self._app, self._session_s = app, session_s
        self._lock = threading.Lock()
        self._tokens: list[Token] = []
        self._looked_at, self._place = -LOOK_S, -1
        self._sessions: OrderedDict[str, tuple[Token, float]] = OrderedDict()
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()

    @property
    def known(self) -> list[Token]:
        """The tokens there are; looked for once a second."""
        with self._lock:
            if time.monotonic() - self._looked_at >= LOOK_S:
                place = self._app.ledger.last_event(TOKEN)
                if place != self._place:
                    self._tokens, self._place = tokens(self._app), place
                self._looked_at = time.monotonic()
            return self._tokens

    def look_again(self) -> None:
        self._looked_at = -LOOK_S

    @property
    def open(self) -> bool:
        """Whether everybody on this machine may do everything: where there never was a token."""
        return not self.known

    def actor(self, connection: HTTPConnection) -> Actor | None:
        """Return who asks, None where they have not said; raise HTTPException where what they said is wrong."""
        given = connection.headers.get("authorization", "")
        if given:
            scheme, _, text = given.partition(" ")
            if scheme.lower() != "bearer":
                raise HTTPException(401, "say `Authorization: Bearer TOKEN`", {"WWW-Authenticate": "Bearer"})
            token = self.check(text.strip(), client_of(connection))
            return Actor(token.name, token)
        if self.open:
            return LOCAL
        session = connection.cookies.get(COOKIE)
        return self._in_session(session) if session else None

    def check(self, text: str, client: str) -> Token:
        """Return the token that a text is; raise HTTPException where it is none, and 429 after many of those."""
        found = token_of(self.known, text, self._app.clock())
        if found is None:  # a right one passes: whoever tries others at the same address must not keep it out
            self._count(client)
            raise HTTPException(
                401,
                "this token is not known, or is over: `learning-loop token create` makes one",
                {"WWW-Authenticate": "Bearer"},
            )
        return found

    def _count(self, client: str) -> None:
        """Note a wrong token; raise HTTPException where there were too many."""
        now = time.monotonic()
        with self._lock:
            wrong = [at for at in self._wrong.get(client, ()) if now - at < TRIES_S][-TRIES:]
            self._wrong[client] = [*wrong, now]
            self._wrong.move_to_end(client)
            if len(self._wrong) > MOST_CLIENTS:
                self._wrong.popitem(last=False)
        if len(wrong) >= TRIES:
            raise HTTPException(429, "too many wrong tokens: wait a minute", {"Retry-After": "60"})

    def still(self, actor: Actor) -> bool:
        """Say whether who asked may still do so: their token stands, and their session goes on."""
        if actor.session is not None:
            return self._in_session(actor.session) is not None
        if actor.token is None:
            return self.open
        now = self._app.clock()
        return any(token.id == actor.token.id and token.stands(now) for token in self.known)

    def begin_session(self, token: Token) -> str:
        """Return the secret of a new session for a browser."""
        name = secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[name] = (token, time.monotonic() + self._session_s)
            if len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return name

    def end_session(self, name: str) -> None:
        with self._lock:
            self._sessions.pop(name, None)

    def _in_session(self, name: str) -> Actor | None:
        known = {token.id: token for token in self.known}
        with self._lock:
            token, until = self._sessions.get(name, (None, 0.0))
            if token is None or time.monotonic() >= until:
                self._sessions.pop(name, None)
                return None
        now = known.get(token.id)
        return Actor(now.name, now, name) if now is not None and now.stands(self._app.clock()) else None


def client_of(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client is not None else "unknown"


async def actor_of(request: Request) -> Actor:
    """Return who asks; raise HTTPException where they have not said."""
    found: Actor | None = request.scope["state"].get("actor")
    if found is None:
        raise HTTPException(401, "say who you are: `Authorization: Bearer TOKEN`", {"WWW-Authenticate": "Bearer"})
    return found


def need(scope: str) -> params.Depends:
    """Return the dependency of what only those may do who have a scope."""

    async def check(request: Request) -> None:  # not `Who`: each dependency costs every request
        if not (await actor_of(request)).may(scope):
            raise HTTPException(403, f"this takes a token with the scope {scope}")

    found: params.Depends = Depends(check)
    return found


Who = Annotated[Actor, Depends(actor_of)]
