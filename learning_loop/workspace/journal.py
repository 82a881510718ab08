"""Several files at once: all of them as they were, or all of them new, whenever a process dies.

The new contents are written to a folder of their own; what is committed elsewhere (one row of the ledger) decides; then each
file takes its place. Whoever comes after a crash either finishes the last step or throws the folder away.
"""

import contextlib
import glob
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from learning_loop.errors import WorkspaceError
from learning_loop.workspace.files import Workspace, atomic_write
from learning_loop.workspace.notes import digest_of

PENDING = ".pending-"
LIST = "changes.json"  # of what is to become of which file


@dataclass(frozen=True, slots=True)
class FileChange:
    """What is to become of one file: its new content, or None to remove it; `expected` is the digest of what is there now.

    Where something else is found in the end, a person wrote it meanwhile: it stays, and the new content goes beside it.
    """

    path: str
    content: bytes | None
    expected: str | None


class Journal:
    """The pending changes of one workspace; one writer at a time, over all processes."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._folder = workspace.reports

    @cached_property
    def _lock(self) -> Any:
        from filelock import FileLock

        self._workspace.locks.mkdir(parents=True, exist_ok=True)
        return FileLock(self._workspace.locks / "synthesis.lock")

    @contextlib.contextmanager
    def alone(self, *, wait_s: float) -> Iterator[None]:
        """Hold the journal; raise WorkspaceError where another process holds it for longer than `wait_s`."""
        from filelock import Timeout

        try:
            self._lock.acquire(timeout=wait_s)
        except Timeout:
            raise WorkspaceError("another synthesis is running in this workspace: wait for it, then try again") from None
        try:
            yield
        finally:
            self._lock.release()

    def prepare(self, name: str, changes: Sequence[FileChange]) -> None:
        """Write what is to come to disk, out of everybody's sight; call while holding it."""
        draft = self._folder / f"{PENDING}{name}.draft"
        listed = []
        for number, change in enumerate(changes):
            if change.content is not None:
                atomic_write(draft / str(number), change.content)
            listed.append({"path": change.path, "expected": change.expected, "remove": change.content is None})
        atomic_write(draft / LIST, json.dumps(listed).encode())
        os.replace(draft, self._folder / f"{PENDING}{name}")

    def carry_out(self, name: str) -> None:
        """Put every file in its place and forget the journal; may be repeated after a crash at any point."""
        folder = self._folder / f"{PENDING}{name}"
        for number, change in enumerate(json.loads((folder / LIST).read_bytes())):
            target = self._workspace.root / change["path"]
            for half in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):  # left by a write that a crash cut short
                half.unlink(missing_ok=True)
            there = digest_of(target.read_bytes()) if target.is_file() else None
            if change["remove"]:
                if there is not None and there == change["expected"]:
                    target.unlink()
                continue
            content = (folder / str(number)).read_bytes()
            if there == digest_of(content):
                continue
            if there not in (None, change["expected"]):
                target = target.with_name(f"{target.stem}.proposal{target.suffix}")
            atomic_write(target, content)
        (folder / LIST).unlink()  # first: of a folder without it nothing is left to do
        shutil.rmtree(folder)

    def recover(self, committed: Callable[[str], bool]) -> None:
        """Finish what was committed before a crash and drop what was not; does nothing while another process works."""
        try:
            found = [entry.name for entry in os.scandir(self._folder) if entry.name.startswith(PENDING)]
        except OSError:
            return
        if not found:
            return
        with contextlib.suppress(WorkspaceError), self.alone(wait_s=0):
            for entry in found:
                name = entry.removeprefix(PENDING)
                folder = self._folder / entry
                if not name.endswith(".draft") and (folder / LIST).is_file() and committed(name):
                    self.carry_out(name)
                else:
                    shutil.rmtree(folder, ignore_errors=True)
