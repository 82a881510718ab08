"""Notices: what people are told at once, on record first, then in the log, in a file and by a webhook."""

import json
import logging
import os
import time
from collections.abc import Mapping
from typing import Any

from learning_loop.app import App
from learning_loop.errors import DeliveryError, WorkspaceError
from learning_loop.providers.webhook import Webhook
from learning_loop.records import Event

NOTICE = "notice"
GRACE_S = 5.0  # after the end of its process, in which what still waits is sent
TOKEN = "LEARNING_LOOP_WEBHOOK_TOKEN"  # noqa: S105  (the name of a variable)
log = logging.getLogger("learning_loop")


def tell(app: App, sort: str, subject: str, text: str, **data: Any) -> Event:
    """Put a notice on record, and have it delivered in the background; return it."""
    event = Event(kind=NOTICE, subject=subject, at=app.clock(), data={"sort": sort, "text": text, **data})
    app.ledger.append(event)
    name, settings = f"notice {subject} {event.at.isoformat()}", app.settings.notify
    if settings.webhook is not None:  # in a lane of its own: what waits for another system holds up neither log nor file
        app.aside("webhook", name, lambda: _send(app, event))
    if settings.log or settings.file is not None:
        app.aside("notices", name, lambda: _write(app, event))
    return event


def _body(app: App, event: Event) -> dict[str, Any]:
    told = {"sort": event.data["sort"], "subject": event.subject, "at": event.at.isoformat(), **event.data}
    return dict(app.redact(told))


def _write(app: App, event: Event) -> None:
    """Tell the log and the file; raise WorkspaceError where that cannot be written."""
    settings, body = app.settings.notify, _body(app, event)
    if settings.log:
        log.warning("%s: %s: %s", body["sort"], body["subject"], body["text"])
    if settings.file is not None:
        try:
            _append(app, settings.file, body)
        except OSError as error:
            raise WorkspaceError(f"cannot write {settings.file}: {error.strerror}: check notify.file") from error


def _send(app: App, event: Event) -> None:
    """Tell another system; what cannot be reached is logged, and a process that ends does not wait long for it."""
    settings = app.settings.notify
    if settings.webhook is None:
        return
    if app.closed_at is not None and time.monotonic() - app.closed_at > GRACE_S:
        log.warning("%s: the webhook was not told any more: the notice is on record", event.subject)
        return
    hook = Webhook(settings.webhook, timeout_s=settings.timeout_s, retries=settings.retries, token=app.environ.get(TOKEN))
    try:
        hook(_body(app, event))
    except DeliveryError as error:
        log.warning("%s", error)


def _append(app: App, name: str, body: Mapping[str, Any]) -> None:
    """Add a line to a file: one write of a whole line, so that those of several processes do not mix."""
    path = app.workspace.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    line = (json.dumps(body, ensure_ascii=False, default=str) + "\n").encode()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(file, line)
    finally:
        os.close(file)
