"""The state a run starts from: what is fast to know, and git, which is not and is asked off the run's path."""

import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def fast_state(environ: Mapping[str, str], names: tuple[str, ...]) -> dict[str, Any]:
    """Return platform, Python and the allow-listed variables that are set."""
    return {
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "environment": {name: environ[name] for name in names if name in environ},
    }


@dataclass(frozen=True, slots=True)
class GitState:
    """The commit a folder is at and how many files differ from it."""

    commit: str
    branch: str | None
    changed_files: int

    @property
    def data(self) -> dict[str, Any]:
        return {
            "commit": self.commit,
            "branch": self.branch,
            "dirty": self.changed_files > 0,
            "changed_files": self.changed_files,
        }


def git_state(folder: Path, *, timeout_s: float = 10.0) -> GitState | None:
    """Ask git about a folder; None where it is no repository, has no commit, or git is missing or too slow."""
    command = [
        "git",
        "--no-optional-locks",
        "-C",
        str(folder),
        "status",
        "--porcelain=v2",
        "--branch",
        "--untracked-files=normal",
    ]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return None
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    heads = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch."))
    commit = heads.get("branch.oid", "")
    if not commit or commit.startswith("("):
        return None
    branch = heads.get("branch.head", "")
    changed = sum(1 for line in lines if not line.startswith("#"))
    return GitState(commit=commit, branch=None if branch.startswith("(") else branch, changed_files=changed)
