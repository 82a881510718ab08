"""Answers to requests that carry a key, so that one that comes again gets the answer it got, and does nothing twice."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from learning_loop.ledger import tables

_A = tables.answers.c


@dataclass(frozen=True, slots=True)
class Answered:
    """What is known of a request with this key: `request` is its digest, `status` None where it is not known what came of it.

    It is `fresh` where nothing came of it yet, for the key was taken just now; `at` is when it was.
    """

    request: str
    status: int | None
    body: str | None
    at: datetime
    fresh: bool = False


def claim(connection: sa.Connection, key: str, request: str, now: datetime, kept_since: datetime) -> Answered:
    """Take a key for a request; where it is taken, return what is known of that."""
    connection.execute(tables.answers.delete().where(_A.at < kept_since))
    row = connection.execute(sa.select(_A.request, _A.status, _A.body, _A.at).where(_A.key == key)).one_or_none()
    if row is not None:
        return Answered(*row)
    connection.execute(tables.answers.insert(), {"key": key, "request": request, "at": now})
    return Answered(request, None, None, now, fresh=True)


def keep(connection: sa.Connection, key: str, status: int, body: str) -> None:
    connection.execute(tables.answers.update().where(_A.key == key).values(status=status, body=body))


def release(connection: sa.Connection, key: str) -> None:
    """Give a key back: what was asked for was not done."""
    connection.execute(tables.answers.delete().where(_A.key == key))
