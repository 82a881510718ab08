"""Exporting a model: sentence-transformers loads it, torch traces it, and what comes out is held against it."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from learning_loop.errors import ModelError
from learning_loop.providers.onnx import RUNTIME, OnnxEmbedder, mark_of

PROBES = ("one", "A lesson: validate webhook signatures before the body is parsed.", "two words " * 40)
UNRELATED = (
    "The ferry to the island leaves every morning at six.",
    "Our database locks rows in the order of their ids.",
    "She planted tomatoes and basil along the southern wall.",
    "The committee postponed its vote on the new budget.",
    "A violin needs new strings about once a year.",
    "Webhook signatures are checked before the body is parsed.",
    "Glaciers carve deep valleys over thousands of years.",
    "The bakery sells rye bread on Thursdays only.",
    "His knee hurts when he climbs stairs.",
    "Compile the kernel with debug symbols switched on.",
    "The museum shows etchings from the seventeenth century.",
    "Interest on the loan is due at the end of the quarter.",
    "Bees tell each other where flowers are by dancing.",
    "Wear a helmet when you ride in the city.",
    "The referee showed him a second yellow card.",
    "Rinse the lentils and let them simmer for half an hour.",
)
LEAST_LIKENESS = 0.999  # of the export's vectors to sentence-transformers' own
OPSET = 17


def export(name: str, folder: Path | None, target: Path, *, digest: str) -> None:
    """Write the model in `folder`, or the one of that name, to `target` for `OnnxEmbedder`; all of it or nothing.

    Whatever its modules are (pooling, dense, normalising), the graph holds them all: tokens in, a vector of unit length
    out. Raise ModelError where it cannot be loaded, traced, or gives other vectors than sentence-transformers.
    """
    try:
        import torch
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ModelError(
            f"{error.name} is not installed, and without it the model {name} cannot be exported: scripts/install --torch, "
            "or set memory.embedder to lexical"
        ) from None
    started = target.with_suffix(".tmp")  # one at a time, under the lock of the cache
    shutil.rmtree(started, ignore_errors=True)
    started.mkdir(parents=True)
    try:
        model = _load(SentenceTransformer, name, folder)
        _trace(torch, model, started)
        model.tokenizer.backend_tokenizer.save(str(started / "tokenizer.json"))
        manifest = {
            "marks": {file: mark_of(started / file) for file in ("model.onnx", "weights.bin", "tokenizer.json")},
            "identity": f"{name}@{digest[:16]}/{RUNTIME}/{model.get_sentence_embedding_dimension()}",
            "dimension": model.get_sentence_embedding_dimension(),
            "unrelated": _unrelated(model),
            "most_tokens": model.max_seq_length or 512,
            "prompts": {kind: text for kind, text in (model.prompts or {}).items() if kind in ("query", "document") and text},
        }
        (started / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        _compare(name, model, OnnxEmbedder(started))
        shutil.rmtree(target, ignore_errors=True)  # of an export that was cut off
        started.replace(target)
    finally:
        shutil.rmtree(started, ignore_errors=True)


def _load(kind: Any, name: str, folder: Path | None) -> Any:
    try:
        model = kind(str(folder or name), device="cpu", local_files_only=folder is not None).eval()
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"the model {name} cannot be loaded: {reason[:200]}. Set memory.embedder to a sentence-transformers model, "
            "to auto, or to lexical"
        ) from error
    if not getattr(model.tokenizer, "is_fast", False):
        raise ModelError(f"the model {name} has no fast tokenizer: choose another one, or set memory.embedder to lexical")
    return model


def _trace(torch: Any, model: Any, folder: Path) -> None:
    """Write the graph optimised, its weights beside it, where a process maps them instead of reading and copying them."""
    import onnxruntime

    given = dict(model.tokenizer(["one two", "a longer text"], padding=True, return_tensors="pt"))
    names = list(given)

    class Whole(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *values: Any) -> Any:
            found = self.model(dict(zip(names, values, strict=True)))["sentence_embedding"]
            return torch.nn.functional.normalize(found, dim=-1)

    axes: dict[str, dict[int, str]] = {key: {0: "batch", 1: "tokens"} for key in names}
    with torch.no_grad():
        torch.onnx.export(
            Whole(),
            tuple(given[key] for key in names),
            str(folder / "traced.onnx"),
            input_names=names,
            output_names=["embedding"],
            dynamic_axes={**axes, "embedding": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,  # the newer exporter needs two more packages, and takes ten times as long
        )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED  # the same on every processor
    options.optimized_model_filepath = str(folder / "model.onnx")
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights.bin")
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(folder / "traced.onnx"), options, providers=["CPUExecutionProvider"])
    (folder / "traced.onnx").unlink()


def _unrelated(model: Any) -> float:
    """Return the mean cosine of texts that have nothing to do with each other."""
    vectors = model.encode(list(UNRELATED), normalize_embeddings=True, show_progress_bar=False, prompt="")
    count = len(UNRELATED)
    return round(float((vectors @ vectors.T).sum() - count) / (count * (count - 1)), 4)


def _compare(name: str, model: Any, exported: OnnxEmbedder) -> None:
    expected = model.encode(list(PROBES), normalize_embeddings=True, show_progress_bar=False, prompt="")
    found = exported.vectors(PROBES)
    least = float((expected * found).sum(axis=1).min())
    if least < LEAST_LIKENESS:
        raise ModelError(
            f"the export of {name} gives other vectors than the model (cosine {least:.3f}): choose another model, "
            "or set memory.embedder to lexical"
        )


if __name__ == "__main__":
    _name, _folder, _target, _digest = sys.argv[1:]
    try:
        export(_name, Path(_folder) if _folder else None, Path(_target), digest=_digest)
    except ModelError as _error:
        sys.exit(f"error: {_error}")
