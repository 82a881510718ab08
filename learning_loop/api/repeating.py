"""Requests that carry an `Idempotency-Key`: one that comes again gets the answer that it got, and does nothing twice.

As in the IETF's draft "The Idempotency-Key HTTP Header Field". A key belongs to who sent it, for a day. Where a process died
between doing and answering, it is not known what came of it, and that is what the next one is told; but to begin and to end a
run is done again, for that does nothing twice anyway.
"""

import asyncio
import json
import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from learning_loop.api.access import Actor
from learning_loop.api.problems import problem
from learning_loop.api.serving import Served, served_in
from learning_loop.errors import ConflictError, NoteError, NotFoundError, UsageError

HEADER = "idempotency-key"
WRITES = ("POST", "PUT", "DELETE")
KEPT = timedelta(days=1)
MOST_KEY = 255
REPEATABLE = re.compile(r"/api/v1/(?:tasks|executions/[^/]+/finish)$")
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Repeatable(APIRoute):
    """A route whose requests may carry a key: see the module."""

    def get_route_handler(self) -> Handler:
        carry_out = super().get_route_handler()

        async def handler(request: Request) -> Response:
            given, actor = request.headers.get(HEADER), request.scope["state"].get("actor")
            if given is None or actor is None or request.method not in WRITES:
                return await carry_out(request)
            return await _once(given, actor, request, carry_out)

        return handler


async def _once(given: str, actor: Actor, request: Request, carry_out: Handler) -> Response:
    if request.url.path.endswith("/tokens"):
        raise HTTPException(400, "a token is shown this once, so that it is made without an Idempotency-Key")
    if not 0 < len(given) <= MOST_KEY:
        raise HTTPException(400, f"an Idempotency-Key has 1 to {MOST_KEY} characters")
    served, body = served_in(request), await request.body()
    key = _digest(actor.token.id if actor.token is not None else "", given)
    asked = _digest(request.method, request.url.path, request.url.query, body.hex())
    ledger = served.app.ledger
    with _alone(served, key):
        claim = await asyncio.to_thread(ledger.claim_answer, key, asked, kept_since=served.app.clock() - KEPT)
        if claim.request != asked:
            return problem(409, "this Idempotency-Key was used for another request: take a new one for each", code="key_used")
        again = REPEATABLE.search(request.url.path) is not None
        if claim.status is not None and claim.body is None and not again:
            raise ConflictError("this was done, and its answer was erased since, with something that was forgotten")
        if claim.status is not None and claim.body is not None:
            head = {"Idempotency-Replayed": "true"}
            return Response(claim.body, claim.status, head, "application/json" if claim.body else None)
        if not claim.fresh and not again:
            raise ConflictError("it is not known what came of the first request with this key: look before you send it anew")
        request.scope["state"]["key"] = _digest(key, asked, claim.at.isoformat())
        try:
            answer = await carry_out(request)
        except (UsageError, NotFoundError, NoteError, HTTPException, RequestValidationError):  # refused: nothing was done
            await asyncio.to_thread(ledger.keep_answer, key, None)
            raise
        await asyncio.to_thread(ledger.keep_answer, key, answer.status_code, bytes(answer.body).decode())
        return answer


@contextmanager
def _alone(served: Served, key: str) -> Iterator[None]:
    """Hold a key; raise HTTPException where a request with it is under way."""
    if key in served.keys:
        raise HTTPException(409, "the request with this key is under way", {"Retry-After": "1"})
    served.keys.add(key)
    try:
        yield
    finally:
        served.keys.discard(key)


def _digest(*parts: str) -> str:
    return sha256(json.dumps(parts).encode()).hexdigest()
