"""Are the declared dependencies there? Packages by importlib, files by the file system, commands by the PATH."""

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MOST_SEEN = 1_000
FRESH_S = 2.0  # how long a check is believed: something may be installed between two runs


class DependencyChecker:
    """Checks `python:NAME[SPEC]`, `file:PATH`, `command:NAME`; without a prefix, whichever of them it looks like."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: dict[str, tuple[float, dict[str, Any]]] = {}

    def check(self, declared: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return for each dependency its sort, whether it is satisfied, its version where it has one, and a reason if not."""
        now = time.monotonic()
        if len(self._seen) > MOST_SEEN:
            self._seen.clear()
        found = {}
        for name in declared:
            at, result = self._seen.get(name, (-FRESH_S, {}))
            if now - at >= FRESH_S:
                result = self._look(name)
                self._seen[name] = (now, result)
            found[name] = result
        return found

    def _look(self, declared: str) -> dict[str, Any]:
        prefix, _, rest = declared.partition(":")
        if prefix == "file":
            return self._file(rest)
        if prefix in ("command", "cmd"):
            return _command(rest)
        if prefix in ("python", "package"):
            return _package(rest)
        if "/" in declared or os.path.exists(os.path.join(self._root, declared)):
            return self._file(declared)
        package = _package(declared)
        return package if package["satisfied"] or shutil.which(declared) is None else _command(declared)

    def _file(self, name: str) -> dict[str, Any]:
        there = os.path.exists(os.path.join(self._root, os.path.expanduser(name)))
        return {"sort": "file", "satisfied": there, "reason": None if there else f"the file {name} is not there"}


def _command(name: str) -> dict[str, Any]:
    there = shutil.which(name) is not None
    return {"sort": "command", "satisfied": there, "reason": None if there else f"the command {name} is not on the PATH"}


def _package(declared: str) -> dict[str, Any]:
    from importlib import invalidate_caches
    from importlib.metadata import PackageNotFoundError, version
    from importlib.util import find_spec

    from packaging.requirements import InvalidRequirement, Requirement

    try:
        wanted = Requirement(declared)
    except InvalidRequirement:
        reason = f"{declared!r} is no package requirement: write it as numpy>=2"
        return {"sort": "python", "satisfied": False, "version": None, "reason": reason}
    try:
        found: str | None = version(wanted.name)
    except PackageNotFoundError:
        found = None
    if found is None:
        invalidate_caches()
        try:
            importable = find_spec(wanted.name.replace("-", "_").partition(".")[0]) is not None
        except (ImportError, ValueError):
            importable = False
        if not importable:
            reason = f"the Python package {wanted.name} is not installed"
            return {"sort": "python", "satisfied": False, "version": None, "reason": reason}
    fits = found is None or wanted.specifier.contains(found, prereleases=True)
    reason_of = None if fits else f"{wanted.name} {found} is installed, {wanted.specifier} is needed"
    return {"sort": "python", "satisfied": fits, "version": found, "reason": reason_of}
