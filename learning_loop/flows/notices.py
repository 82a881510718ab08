"""Notices: what people are told at once, on record first, then in the log, in a file and by a webhook."""

import json
import logging
import os
from collections.abc import Mapping
from typing import Any

from learning_loop.app import App
from learning_loop.errors import DeliveryError, WorkspaceError
from learning_loop.providers.webhook import Webhook
from learning_loop.records import Event

NOTICE = "notice"
TOKEN = "LEARNING_LOOP_WEBHOOK_TOKEN"  # noqa: S105  (the name of a variable)
log = logging.getLogger("learning_loop")


def tell(app: App, sort: str, subject: str, text: str, **data: Any) -> Event:
    """Put a notice on record, and have it delivered in the background; return it."""
    event = Event(kind=NOTICE, subject=subject, at=app.clock(), data={"sort": sort, "text": text, **data})
    app.ledger.append(event)
    app.aside("notices", f"notice {subject} {event.at.isoformat()}", lambda: deliver(app, event))
    return event


def deliver(app: App, event: Event) -> None:
    """Send a notice everywhere it is to go; what cannot be reached is logged, and keeps nothing else from being told."""
    settings = app.settings.notify
    body = app.redact({"sort": event.data["sort"], "subject": event.subject, "at": event.at.isoformat(), **event.data})
    if settings.log:
        log.warning("%s: %s: %s", body["sort"], body["subject"], body["text"])
    if settings.file is not None:
        try:
            _append(app, settings.file, body)
        except OSError as error:
            raise WorkspaceError(f"cannot write {settings.file}: {error.strerror}: check notify.file") from error
    if settings.webhook is not None:
        hook = Webhook(settings.webhook, timeout_s=settings.timeout_s, retries=settings.retries, token=app.environ.get(TOKEN))
        try:
            hook(body)
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
