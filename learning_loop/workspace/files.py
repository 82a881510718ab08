"""Where things stand in a workspace, and writing files so that nobody ever sees half of one."""

import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from learning_loop.errors import WorkspaceError

DEFAULTS = Path(__file__).parents[1] / "defaults"
MARKER = Path("config/learning_loop.yaml")
FOLDERS = (
    "memory/short-term",
    "memory/working-memory",
    "memory/long-term/architectural-decisions",
    "memory/long-term/component-patterns",
    "memory/long-term/integration-gotchas",
    "memory/rules",
    "memory/archive",
    "metrics",
    "templates/successful-patterns",
)


def atomic_write(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader, or a crash, finds the old file or the new one whole.

    The new file is flushed to disk before it takes the old one's place. Raise WorkspaceError where it cannot be written.
    """
    try:
        path = path.resolve()  # of a link, what it leads to is written
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:  # the umask applies
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileNotFoundError):
                temporary.chmod(path.stat().st_mode & 0o777)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise WorkspaceError(
            f"cannot write {path}: {error.strerror}. Check that the folder is writable and the disk not full"
        ) from error


def default_files() -> dict[str, bytes]:
    """Return what `init` writes, by path in the workspace."""
    return {
        path.relative_to(DEFAULTS).as_posix(): path.read_bytes()
        for path in sorted(DEFAULTS.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.name != "__init__.py"
    }


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder with `config/learning_loop.yaml` in it, and the places inside it."""

    root: Path

    @classmethod
    def find(cls, start: Path) -> "Workspace | None":
        """Return the workspace that `start` lies in, as git finds its repository; None outside one."""
        start = start.resolve()
        for folder in (start, *start.parents):
            if (folder / MARKER).is_file():
                return cls(folder)
        return None

    @classmethod
    def init(cls, root: Path) -> tuple["Workspace", list[str]]:
        """Make `root` a workspace and return it with the paths that were written; what is there stays as it is."""
        root = root.resolve()
        written = []
        try:
            for folder in FOLDERS:
                if not (root / folder).is_dir():
                    (root / folder).mkdir(parents=True)
                    written.append(f"{folder}/")
        except OSError as error:
            raise WorkspaceError(
                f"cannot make a workspace in {root}: {error.strerror}. Choose a folder you may write to"
            ) from error
        for name, content in sorted(default_files().items(), key=lambda item: item[0] == MARKER.as_posix()):  # the marker last
            if not (root / name).exists():
                atomic_write(root / name, content)
                written.append(name)
        ignored = root / ".learning_loop" / ".gitignore"
        if not ignored.exists():
            atomic_write(ignored, b"# derived and disposable\n*\n")
        return cls(root), written

    @property
    def config(self) -> Path:
        return self.root / "config"

    @property
    def templates(self) -> Path:
        return self.root / "templates"

    @property
    def successful_patterns(self) -> Path:
        return self.templates / "successful-patterns"

    @property
    def memory(self) -> Path:
        return self.root / "memory"

    @property
    def assumptions(self) -> Path:
        return self.memory / "working-memory" / "current-assumptions.md"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics"

    @property
    def reports(self) -> Path:
        return self.metrics / "reports"

    @property
    def ledger(self) -> Path:
        return self.metrics / "ledger.db"

    @property
    def index(self) -> Path:
        return self.root / ".learning_loop" / "index"

    @property
    def locks(self) -> Path:
        return self.root / ".learning_loop" / "locks"

    def relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()
