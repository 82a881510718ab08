"""Notes: markdown files with YAML front matter. Parsing and writing is an identity, byte for byte."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

from learning_loop.errors import NoteError
from learning_loop.workspace import yaml
from learning_loop.workspace.files import Workspace, atomic_write

MOST_BYTES = 5_000_000
MOST_NUMBER = 1e15
_FENCE = re.compile(r"\A(\ufeff?---[ \t]*\r?\n)(.*?)(^---[ \t]*(?:\r?\n|\Z))", re.DOTALL | re.MULTILINE)
_TOP_KEY = re.compile(r"^(?![ \t#\-])(\"[^\"]*\"|'[^']*'|[^:\s][^:\n]*?)[ \t]*:(?=\s|$)", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)


def digest_of(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Note:
    """A note as it stands in its file: `head` is everything up to the closing fence, `body` the rest, both untouched.

    `path` is relative to the workspace. A file without front matter has an empty head and no meta.
    """

    path: str
    head: str
    body: str
    meta: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, path: str, content: bytes) -> Self:
        """Read a note; raise NoteError, with what to mend, where its front matter cannot be used."""
        if len(content) > MOST_BYTES:
            raise NoteError(f"{path}: is larger than {MOST_BYTES // 1_000_000} MB: split it, or keep it outside memory/")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise NoteError(f"{path}:{line}: is not UTF-8 text: save it as UTF-8") from None
        fence = _FENCE.match(text)
        if fence is None:
            if re.match(r"\ufeff?---[ \t]*\r?\n", text) and re.match(r"\ufeff?---[ \t]*\r?\n[\w-]+:", text):
                raise NoteError(f"{path}:1: the front matter has no closing ---: add it after the last key")
            return cls(path=path, head="", body=text)
        try:
            meta, _ = yaml.load(fence[2])
        except yaml.YamlError as error:
            raise NoteError(f"{path}:{(error.line or 1) + 1}: the front matter cannot be read: {error}") from None
        if meta is not None and not isinstance(meta, dict):
            raise NoteError(f"{path}:2: the front matter must hold `key: value` lines, not a {type(meta).__name__}")
        return cls(
            path=path, head=fence[0], body=text[fence.end() :], meta={str(key): value for key, value in (meta or {}).items()}
        )

    @property
    def content(self) -> bytes:
        return (self.head + self.body).encode("utf-8")

    def with_meta(self, **changes: Any) -> "Note":
        """Return the note with these keys set (or, for None, removed); every other byte stays as it is."""
        if not self.head:
            return with_front_matter(self.path, changes, self.body)
        fence = _FENCE.match(self.head)
        if fence is None:
            raise NoteError(f"{self.path}: the front matter has no fences")
        opening, front, closing = fence.groups()
        meta = {key: value for key, value in {**self.meta, **changes}.items() if value is not None}
        edited = front
        for name, value in changes.items():
            edited = _with_key(edited, name, value)
        if not _says(edited, meta):  # front matter in a form that cannot be edited line by line, as {a: 1}: written anew
            edited = _dump(meta)
        return replace(self, head=opening + edited + closing, meta=meta)

    # ---- what a note says of itself, read leniently: people write front matter by hand

    @property
    def id(self) -> str:
        return str(self.meta.get("id") or self.path)

    @property
    def title(self) -> str:
        heading = _HEADING.search(self.body)
        return str(self.meta.get("title") or (heading[1] if heading else Path(self.path).stem.replace("-", " ")))

    @property
    def category(self) -> str:
        """Return what sort of note this is: as its front matter says, else by the folder it lies in."""
        given = self.meta.get("kind")
        if given:
            return str(given)
        parts = Path(self.path).parts
        folder = parts[-2] if len(parts) > 1 else ""
        return _CATEGORIES.get(folder, "template" if Path(self.path).name == "SKILL.md" else "note")

    @property
    def digest(self) -> str:
        return digest_of(self.content)

    @property
    def created(self) -> datetime | None:
        return self.moment("created")

    def moment(self, key: str) -> datetime | None:
        """Return a key's value as a moment; None where it is none."""
        value = self.meta.get(key)
        try:
            if isinstance(value, str):  # in quotes
                value = datetime.fromisoformat(value)
            if isinstance(value, datetime):
                return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
            return datetime(value.year, value.month, value.day, tzinfo=UTC) if isinstance(value, date) else None
        except (ValueError, OverflowError):  # no moment, or one that has none in UTC
            return None

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a key's value as texts, whether it was written as a list or as one."""
        value = self.meta.get(key)
        if value is None:
            return ()
        return tuple(str(item) for item in value) if isinstance(value, list | tuple) else (str(value),)

    def number(self, key: str) -> float | None:
        value = self.meta.get(key)
        known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST_NUMBER
        return float(value) if known else None  # type: ignore[arg-type]

    def text(self, key: str) -> str | None:
        value = self.meta.get(key)
        return None if value is None else str(value)


_CATEGORIES = {
    "short-term": "reflection",
    "working-memory": "assumption",
    "architectural-decisions": "decision",
    "decisions": "decision",
    "adr": "decision",
    "adrs": "decision",
    "component-patterns": "pattern",
    "integration-gotchas": "gotcha",
    "rules": "rule",
}


def with_front_matter(path: str, meta: Mapping[str, Any], body: str) -> Note:
    """Return a new note; None values are left out."""
    kept = {key: value for key, value in meta.items() if value is not None}
    return Note(path=path, head=f"---\n{_dump(kept)}---\n", body=body, meta=kept)


def _dump(meta: Mapping[str, Any]) -> str:
    return yaml.dump({key: _plain(value) for key, value in meta.items()}) if meta else ""


def _with_key(front: str, name: str, value: Any) -> str:
    """Return raw front matter with one key set, or removed for None; every other line stays."""
    text = "" if value is None else _dump({name: value})
    start, end = _place_of(front, name)
    if front and start == end and not front.endswith("\n"):
        text = "\n" + text
    return front[:start] + text + front[end:]


def _says(front: str, meta: Mapping[str, Any]) -> bool:
    try:
        found, _ = yaml.load(front)
    except yaml.YamlError:
        return False
    found = {str(key): value for key, value in found.items() if value is not None} if isinstance(found, dict) else {}
    return found == {key: _plain(value) for key, value in meta.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(microsecond=0)
    return value


def _place_of(front: str, name: str) -> tuple[int, int]:
    """Return where a top-level key's lines start and end in raw front matter; both are its end for a new key."""
    keys = list(_TOP_KEY.finditer(front))
    for number, match in enumerate(keys):
        if match[1].strip("\"'") == name:
            end = keys[number + 1].start() if number + 1 < len(keys) else len(front)
            block = front[match.start() : end]
            trailing = re.search(r"(?:^[ \t]*(?:#.*)?\n)+\Z", block, re.MULTILINE)  # blank lines and comments stay
            return match.start(), end - (len(trailing[0]) if trailing else 0)
    return len(front), len(front)


class NoteStore:
    """The notes of a workspace: everything ending in .md under memory/ but a README, and the extracted templates.

    `sources` are more folders of markdown, from the workspace's root: their files are found and read, never written.
    """

    def __init__(self, workspace: Workspace, sources: Sequence[str] = ()) -> None:
        self.workspace = workspace
        self.sources = tuple(Path(os.path.normpath(workspace.root / os.path.expanduser(source))) for source in sources)

    def folders(self) -> tuple[Path, ...]:
        """Return the folders that notes lie in, those only read included."""
        return (self.workspace.memory, self.workspace.successful_patterns, *self.sources)

    def owns(self, path: str) -> bool:
        """Say whether a path lies where the workspace's own notes do, and not in a folder that is only read."""
        return path.startswith(("memory/", "templates/successful-patterns/"))

    def paths(self) -> Iterator[Path]:
        """Yield the file of every note of ours, in no particular order."""
        for top in (self.workspace.memory, self.workspace.successful_patterns):
            for entry in _markdown(top):
                if entry.name != "README.md":
                    yield Path(entry.path)

    def marks(self) -> dict[str, str]:
        """Return what changes when a file does, of every note and of every file that is only read, by path."""
        root = str(self.workspace.root)
        found: dict[str, str] = {}
        for top in self.folders():
            own = top not in self.sources
            for entry in _markdown(top):
                if own and entry.name == "README.md":
                    continue
                with contextlib.suppress(OSError):  # gone between the listing and the look
                    status = entry.stat()
                    path = entry.path
                    name = path[len(root) + 1 :] if path.startswith(root + os.sep) else os.path.relpath(path, root)
                    name = name.encode("utf-8", "backslashreplace").decode()  # one that is no text is named, and not found
                    found.setdefault(name.replace(os.sep, "/"), f"{status.st_mtime_ns}-{status.st_size}")
        return found

    def marks_below(self, folder: str) -> dict[str, str]:
        """Return the same of the notes in one folder of ours, given from the workspace's root."""
        found = {}
        for entry in _markdown(self.workspace.root / folder):
            if entry.name != "README.md":
                with contextlib.suppress(OSError):
                    status = entry.stat()
                    path = Path(entry.path).relative_to(self.workspace.root).as_posix()
                    found[path] = f"{status.st_mtime_ns}-{status.st_size}"
        return found

    def mark(self, path: str) -> str:
        status = (self.workspace.root / path).stat()
        return f"{status.st_mtime_ns}-{status.st_size}"

    def read(self, path: str | Path) -> Note:
        """Return the note at a path from the workspace's root; raise NoteError where there is none or it cannot be read."""
        file = Path(os.path.normpath(self.workspace.root / path))
        name = Path(os.path.relpath(file, self.workspace.root)).as_posix()
        try:
            real = file.resolve()
            if not any(real.is_relative_to(folder.resolve()) for folder in (self.workspace.root, *self.sources)):
                raise NoteError(f"{name}: leads out of the workspace: move it in, or add its folder to memory.sources")
            status = file.stat()
            if not stat.S_ISREG(status.st_mode):
                raise NoteError(f"{name}: is no ordinary file: take it out of the folder")
            if status.st_size > MOST_BYTES:
                raise NoteError(f"{name}: is larger than {MOST_BYTES // 1_000_000} MB: split it, or keep it outside memory/")
            return Note.parse(name, file.read_bytes())
        except OSError as error:
            raise NoteError(f"{name}: cannot be read: {error.strerror}") from None

    def all(self) -> Iterator[Note | NoteError]:
        """Yield every note, or the error that says why a file is none."""
        for path in sorted(self.paths()):
            try:
                yield self.read(path)
            except NoteError as error:
                yield error

    def write(self, note: Note) -> None:
        atomic_write(self.workspace.root / note.path, note.content)

    def free_path(self, folder: str, name: str) -> str:
        """Return a path in `folder` that no file has yet, from a wished name without its ending."""
        path, number = f"{folder}/{name}.md", 2
        while (self.workspace.root / path).exists():
            path, number = f"{folder}/{name}-{number}.md", number + 1
        return path


def _markdown(top: Path) -> Iterator["os.DirEntry[str]"]:
    """Yield the markdown files under a folder; hidden ones, and folders that are links, are passed over."""
    waiting = [str(top)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                with contextlib.suppress(OSError):  # a link in a circle: the others are read all the same
                    if entry.name.endswith(".md") and entry.is_file():
                        yield entry
                    elif entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
