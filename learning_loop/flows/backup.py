"""Backup and restore: one archive with the ledger, the notes and the configuration."""

import io
import json
import shutil
import tarfile
import tempfile
from pathlib import Path

from learning_loop import __version__
from learning_loop.app import App
from learning_loop.errors import UsageError, WorkspaceError
from learning_loop.flows.indexing import Progress
from learning_loop.records import Clock
from learning_loop.workspace import Workspace

PARTS = ("config", "templates", "memory", "metrics")
MANIFEST = "learning-loop-backup.json"


def backup(app: App, target: Path, progress: Progress | None = None) -> Path:
    """Write a consistent archive while others go on working; raise UsageError where the file is there already.

    `progress` is told now and then how many files of how many are in it.
    """
    if target.exists():
        raise UsageError(f"{target} is there already: choose another name")
    root = app.workspace.root
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder, tarfile.open(temporary, "w:gz") as archive:
            manifest = json.dumps({"version": __version__, "made": app.clock().isoformat()}).encode()
            entry = tarfile.TarInfo(MANIFEST)
            entry.size = len(manifest)
            archive.addfile(entry, io.BytesIO(manifest))
            copy = Path(folder, "ledger.db")
            app.ledger.copy_to(copy)
            archive.add(copy, "metrics/ledger.db")
            paths = [path for part in PARTS for path in sorted((root / part).rglob("*")) if _kept(path)]
            for number, path in enumerate(paths, 1):
                archive.add(path, app.workspace.relative(path))
                if progress is not None and number % 200 == 0:
                    progress(number, len(paths))
        temporary.replace(target)
    except OSError as error:
        raise WorkspaceError(f"cannot write {target}: {error.strerror}. Choose another place") from error
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _kept(path: Path) -> bool:
    other = path.name.startswith("ledger.db") or path.name.endswith((".tar.gz", ".tmp"))  # the ledger is copied, see above
    return path.is_file() and not path.is_symlink() and not other


def restore(archive: Path, root: Path, *, replace: bool, clock: Clock) -> Path | None:
    """Unpack a backup into `root`; return where what was there before now stands.

    A workspace with anything in it is only replaced when told so. Raise UsageError for a file that is no backup.
    """
    root = root.resolve()
    present = [part for part in PARTS if (root / part).exists()]
    if present and not replace:
        raise UsageError(
            f"{root} holds a workspace: restore into an empty folder, or add --replace (what is there is kept aside)"
        )
    with tempfile.TemporaryDirectory(dir=_made(root), prefix=".restore-") as folder:
        try:
            with tarfile.open(archive, "r:gz") as opened:
                if MANIFEST not in opened.getnames():
                    raise UsageError(f"{archive} is no backup of learning-loop: it has no {MANIFEST}")
                opened.extractall(folder, filter="data")
        except (tarfile.TarError, EOFError, OSError) as error:
            raise UsageError(f"{archive} cannot be unpacked: {error}. Nothing was changed") from None
        aside = root / f"replaced-{clock():%Y%m%d-%H%M%S}" if present else None
        for part in present:
            if aside is not None:
                aside.mkdir(parents=True, exist_ok=True)
                (root / part).rename(aside / part)
        for part in PARTS:
            if Path(folder, part).exists():
                Path(folder, part).rename(root / part)
    shutil.rmtree(Workspace(root).index, ignore_errors=True)  # derived: made anew from what was restored
    Workspace.init(root)
    return aside


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceError(f"cannot make {folder}: {error.strerror}. Choose a folder you may write to") from None
    return folder
