"""What every request passes on its way in, and every answer on its way out.

The host that is asked for must be ours, so that no name on the internet can be made to lead here (DNS rebinding). What changes
something must not come from another site's page: F. Valsorda, Cross-Site Request Forgery, 2025. Bodies have a limit of size and
of time. What goes out forbids browsers everything that our pages do not need.
"""

import asyncio
import re
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from learning_loop.api.access import Access
from learning_loop.api.problems import problem, status_of
from learning_loop.errors import LearningLoopError

SAFE = ("GET", "HEAD", "OPTIONS")
LOOPBACK = frozenset(("localhost", "127.0.0.1", "[::1]", "::1"))
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class Guarded:
    """The outermost of the application: see the module."""

    def __init__(self, app: ASGIApp, *, access: Access, hosts: Collection[str], most_bytes: int, body_s: float) -> None:
        self._app, self._access = app, access
        named = (host.lower() for host in hosts)
        self._hosts = LOOPBACK | {f"[{host}]" if ":" in host and not host.startswith("[") else host for host in named}
        self._most_bytes, self._body_s = most_bytes, body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            body = await self._admitted(scope, receive)
        except HTTPException as error:
            await problem(error.status_code, error.detail, headers=error.headers)(scope, receive, sending)
            return
        except LearningLoopError as error:
            status, code = status_of(error)
            await problem(status, str(error), code=code, headers={"Retry-After": "2"})(scope, receive, sending)
            return
        await self._app(scope, receive if body is None else _again(body, receive), sending)

    async def _admitted(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the body of a request that may come in, None where it has none; raise HTTPException."""
        headers, connection = Headers(scope=scope), HTTPConnection(scope)
        host = headers.get("host", "")
        if name_of(host) not in self._hosts:
            raise HTTPException(421, f"{host[:100]!r} is not served here: add it to serve.hosts in config/learning_loop.yaml")
        if scope["method"] not in SAFE:
            _check_origin(headers, host)
        alive = scope["path"] == "/healthz"  # whatever the ledger is up to
        scope.setdefault("state", {})["actor"] = None if alive else self._access.actor(connection)
        if scope["method"] in SAFE:
            return None
        return await self._body(headers, receive)

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        said = headers.get("content-length", "")
        if said.isdigit() and int(said) > self._most_bytes:
            raise self._too_large()
        parts, size, more = list[bytes](), 0, True
        try:
            async with asyncio.timeout(self._body_s):
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise HTTPException(400, "the request broke off")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self._most_bytes:
                        raise self._too_large()
                    more = message.get("more_body", False)
        except TimeoutError:
            raise HTTPException(408, "the request took too long to come", {"Connection": "close"}) from None
        return b"".join(parts)

    def _too_large(self) -> HTTPException:
        limit = f"a request holds {self._most_bytes // 1_024} KB at most (serve.most_kilobytes)"
        return HTTPException(413, limit, {"Connection": "close"})


def name_of(host: str) -> str:
    """Return the name in a Host header, without its port."""
    host = host.strip().lower()
    if host.startswith("["):
        name, _, rest = host.partition("]")
        return f"{name}]" if not rest or re.fullmatch(r":\d*", rest) else host
    name, _, port = host.partition(":")
    return name if re.fullmatch(r"\d*", port) else host


def _check_origin(headers: Headers, host: str) -> None:
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    same = site in ("same-origin", "none") if site is not None else origin is None or origin.partition("://")[2] == host
    if not same:
        raise HTTPException(403, "this came from another site's page: what changes something must come from our own")


def _again(body: bytes, receive: Receive) -> Receive:
    given = False

    async def received() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return received
