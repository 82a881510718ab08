"""What is new, told to whoever listens: one look at ledger and index for all of them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping

from learning_loop.app import App
from learning_loop.errors import LearningLoopError, WorkspaceError

LOOK_S = 0.5
HEARTBEAT_S = 15.0


def places_of(app: App) -> dict[str, int]:
    """Return how many rows of each kind are on record, and how often `memory` changed; what cannot be told is left out."""
    found = app.ledger.places()
    with contextlib.suppress(WorkspaceError):
        found["memory"] = app.index.changes
    return found


def state_of(places: Mapping[str, int]) -> str:
    """Return what tells one state from another: the id of the event that tells of it."""
    return "-".join(map(str, places.values()))


class Changes:
    """Looks at what is there while somebody listens, and tells all who do what is new."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.places: Mapping[str, int] = {}
        self._listeners = 0
        self._changed = asyncio.Condition()
        self._looking: asyncio.Task[None] | None = None
        self._over = False

    async def listen(self, last: str | None = None, *, may: Callable[[], bool] = lambda: True) -> AsyncIterator[str]:
        """Yield server-sent events: at once where something came since the event with the id `last`, then as it comes.

        An event says of each kind of record how many there are by now. It is over once who listens `may` no more.
        """
        self._listeners += 1
        if self._looking is None or self._looking.done():
            self.places = {}  # what was seen before may be long ago
            self._looking = asyncio.create_task(self._look())
        told = last
        try:
            yield "retry: 2000\n\n"
            while not self._over and may():
                if self._is_new(told):
                    told = self.id
                    yield f"id: {told}\nevent: change\ndata: {json.dumps(dict(self.places))}\n\n"
                    continue
                if not await self._wait(told):
                    yield ": still here\n\n"
        finally:
            self._listeners -= 1

    @property
    def id(self) -> str:
        return state_of(self.places)

    def end(self) -> None:
        """End every listening, within the time of a look."""
        self._over = True

    def _is_new(self, told: str | None) -> bool:
        return bool(self.places) and self.id != told

    async def _wait(self, told: str | None) -> bool:
        async with self._changed:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._changed.wait_for(lambda: self._over or self._is_new(told))
            except TimeoutError:
                return False
        return True

    async def _look(self) -> None:
        while self._listeners and not self._over:
            with contextlib.suppress(LearningLoopError):  # the ledger is busy: then at the next look
                now = await asyncio.to_thread(places_of, self._app)
                if now != self.places:
                    self.places = now
                    await self._tell()
            await asyncio.sleep(LOOK_S)
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
