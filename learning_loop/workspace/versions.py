"""Versions of policies on disk: `metrics/policies/POINT/VERSION/`, what was learned beside what it was learned from."""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from learning_loop.errors import WorkspaceError
from learning_loop.records import slug
from learning_loop.workspace.files import Workspace, atomic_write

DOCUMENT, ARRAYS = "policy.json", "weights.npz"
FAULTS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    AttributeError,
    NotImplementedError,
    zlib.error,
    zipfile.BadZipFile,
)
ARRAY = "array:"  # what stands in the document where an array was


def folder_of(workspace: Workspace, point: str) -> Path:
    """Return where the versions of a decision point are; points whose names are written alike have folders of their own."""
    plain = slug(point, 80)
    unique = "" if plain == point else f"-{blake2b(point.encode(), digest_size=4).hexdigest()}"
    return workspace.metrics / "policies" / f"{plain}{unique}"


def save_version(folder: Path, state: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write what a policy learned, and what is to be known about it; the document comes last and names the weights."""
    import numpy as np

    arrays: dict[str, Any] = {}
    stored, packed = _stored(state, arrays), io.BytesIO()
    np.savez_compressed(packed, **arrays)
    document = {"about": dict(about), "weights": _mark(packed.getvalue()), "state": stored}
    atomic_write(folder / ARRAYS, packed.getvalue())
    atomic_write(folder / DOCUMENT, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


def load_version(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a version learned, and what is known about it; raise WorkspaceError where it cannot be read."""
    import numpy as np

    try:
        document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
        packed = (folder / ARRAYS).read_bytes()
        if _mark(packed) != document.get("weights", _mark(packed)):
            raise WorkspaceError(f"{folder} holds weights of another version: train it anew, or restore a backup")
        with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
            state = _restored(document["state"], {name: arrays[name] for name in arrays.files})
            return state, document["about"]
    except FAULTS as error:
        raise WorkspaceError(
            f"{folder} holds no policy that can be read ({error}): train it anew, or restore a backup"
        ) from None


def _mark(packed: bytes) -> str:
    return blake2b(packed, digest_size=8).hexdigest()


def _stored(value: Any, arrays: dict[str, Any]) -> Any:
    if hasattr(value, "dtype"):
        name = f"a{len(arrays)}"
        arrays[name] = value
        return f"{ARRAY}{name}"
    if isinstance(value, Mapping):
        return {str(key): _stored(item, arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_stored(item, arrays) for item in value]
    return f"{ARRAY}{value}" if isinstance(value, str) and value.startswith(ARRAY) else value


def _restored(value: Any, arrays: Mapping[str, Any]) -> Any:
    if isinstance(value, str) and value.startswith(ARRAY):
        name = value.removeprefix(ARRAY)
        return arrays.get(name, name)
    if isinstance(value, dict):
        return {key: _restored(item, arrays) for key, item in value.items()}
    if isinstance(value, list):
        return [_restored(item, arrays) for item in value]
    return value
