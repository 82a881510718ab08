"""Wording: what was found is put into plain sentences by a language model, beside all other work; its claims are checked."""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from learning_loop.app import App
from learning_loop.errors import LearningLoopError
from learning_loop.flows.language import printable, voice
from learning_loop.records import Event, RootCause

WORDING = "wording"  # the kind of events that keep what was put into words; their subject is that of the note
log = logging.getLogger("learning_loop")
Text = Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(printable)]


class _Said(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Claim(_Said):
    """One statement, with the ids of the runs it rests on."""

    text: Text
    evidence: tuple[str, ...] = ()


class Wording(_Said):
    """Two or three plain sentences."""

    claims: Annotated[tuple[Claim, ...], Field(max_length=6)]


@dataclass(frozen=True, slots=True)
class ToWord:
    """A root cause that is to be put into words, and what writes its note again."""

    subject: str
    kind: str
    cause: RootCause
    improvements: tuple[str, ...]


class Wordings:
    """Root causes that wait to be put into words, the newest that there is room for; asked beside all other work."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._waiting: deque[tuple[ToWord, Callable[[], Any]]] = deque(maxlen=max(app.settings.language_model.queue, 1))

    def add(self, item: ToWord, write_again: Callable[[], Any]) -> None:
        """Have a cause put into words, and its note written again with them, where there is a model for it."""
        settings = self._app.settings.language_model
        if settings.queue and item.cause.findings and worded(self._app, item.subject, item.cause) is None:
            if voice(self._app, "wording") is None:
                return
            self._waiting.append((item, write_again))
            self._app.aside("models", "wording", self._all)

    def _all(self) -> None:
        while self._waiting and not self._app.closing:  # what waits then can be asked again
            item, write_again = self._waiting.popleft()
            model = voice(self._app, "wording")
            if model is None:
                return
            try:
                said = model.ask("wording", Wording, kind=item.kind, cause=item.cause, improvements=list(item.improvements))
            except LearningLoopError as error:
                log.info("a cause was not put into words: %s", error)
                continue
            known = {name for finding in item.cause.findings for name in finding.executions}
            kept = [" ".join(claim.text.split()) for claim in said.claims if claim.evidence and set(claim.evidence) <= known]
            if kept:
                data = {"text": " ".join(kept), "by": model.identity, "cause": item.cause.summary}
                self._app.ledger.append(Event(kind=WORDING, subject=item.subject, at=self._app.clock(), data=data))
                write_again()


def worded(app: App, subject: str, cause: RootCause) -> Mapping[str, Any] | None:
    """Return what was put into words of a subject, as long as its cause is the same."""
    found = app.ledger.events(WORDING, subject, last=1)
    return found[0].data if found and found[0].data["cause"] == cause.summary else None
