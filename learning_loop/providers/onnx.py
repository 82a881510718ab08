"""Serving an exported model with onnxruntime and tokenizers: no torch in the process."""

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from learning_loop.errors import ModelError
from learning_loop.protocols import Vectors

LARGE = 5_000_000
BATCH_TOKENS = 4_096  # of one call, padding included: what stays in the cache of a core
RUNTIME = "onnx-fp32-3"  # the number grows when exports of an older form no longer serve


class OnnxEmbedder:
    """A model as `providers.export` wrote it: `model.onnx`, `tokenizer.json` and `manifest.json` in one folder."""

    def __init__(self, folder: Path, *, threads: int = 0) -> None:
        """Load the model; `threads` for one call, 0 for as many as there are cores. Raise ModelError where it is damaged."""
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            self.identity: str = manifest["identity"]
            self.dimension: int = manifest["dimension"]
            self.unrelated: float = manifest["unrelated"]
            self._prompts: dict[str, str] = manifest["prompts"]
            self._session, self._tokenizer = _loaded(folder, manifest, threads)
        except ImportError as error:
            raise ModelError(
                f"{error.name} is not installed, which runs the model: scripts/install, or pip install it"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"the exported model in {folder} cannot be read: delete the folder, it is exported again"
            ) from error
        self._inputs = [item.name for item in self._session.get_inputs()]

    def embed(self, texts: Sequence[str]) -> Vectors:
        return self.vectors([self._prompts.get("document", "") + text for text in texts])

    def embed_query(self, text: str) -> Vectors:
        return self.vectors([self._prompts.get("query", "") + text])[0]

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts as they are, without the prompt that the model puts before them."""
        from onnxruntime.capi import onnxruntime_pybind11_state as faults

        try:
            return self._vectors(texts)
        except (
            RuntimeError,
            MemoryError,
            faults.Fail,
            faults.RuntimeException,
            faults.InvalidArgument,
            faults.EPFail,
        ) as error:
            raise ModelError(f"the model {self.identity} failed: {str(error).splitlines()[0][:200]}") from error

    def _vectors(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        encoded = self._tokenizer.encode_batch([text.encode("utf-8", "replace").decode() for text in texts])
        found = np.empty((len(texts), self.dimension), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda place: len(encoded[place].ids))  # alike in length: little padding
        start = 0
        while start < len(order):
            end, longest = start + 1, len(encoded[order[start]].ids)
            while end < len(order):
                longest = len(encoded[order[end]].ids)
                if (end + 1 - start) * longest > BATCH_TOKENS:
                    break
                end += 1
            batch = order[start:end]
            found[batch] = self._run([encoded[place] for place in batch])
            start = end
        return found

    def _run(self, encoded: Sequence[Any]) -> Vectors:
        import numpy as np

        width = max(len(item.ids) for item in encoded)
        given = {name: np.zeros((len(encoded), width), dtype=np.int64) for name in self._inputs}
        for row, item in enumerate(encoded):
            for name, values in (
                ("input_ids", item.ids),
                ("attention_mask", item.attention_mask),
                ("token_type_ids", item.type_ids),
            ):
                if name in given:
                    given[name][row, : len(values)] = values
        return self._session.run(None, given)[0]


def mark_of(path: Path) -> str:
    """Return the digest of a file, of a large one its size: reading all weights would take longer than loading them."""
    size = path.stat().st_size
    return f"{size} bytes" if size > LARGE else blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _loaded(folder: Path, manifest: Mapping[str, Any], threads: int) -> tuple[Any, Any]:
    import onnxruntime
    from tokenizers import Tokenizer

    for name, mark in manifest["marks"].items():  # damage would be met as a fault deep in a library
        if mark_of(folder / name) != mark:
            raise ValueError(f"{name} is not as it was written")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # done when it was exported
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(manifest["most_tokens"])
    return session, tokenizer
