"""Strategies of a workspace: what people wrote and evidence changed, which version of each is in force, and choosing one."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from learning_loop.app import App
from learning_loop.errors import ConfigurationError, NotFoundError, UsageError
from learning_loop.records import Event, StrategyEntry, StrategyVersion
from learning_loop.strategies import Catalogue, Strategy, Version, version_of
from learning_loop.strategies.context import NAMES
from learning_loop.workspace import yaml
from learning_loop.workspace.config import read_document

FOLDER = "strategies"
STRATEGY = "strategy"  # the kind of events about a strategy; their subject is its slug
FILE, DERIVED, MODEL = "file", "evolution", "language model"  # who made a version
FORCE = ("load", "promote", "rollback", "revive")  # actions after which the version that they name is in force


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a strategy stands: the version in force, None where there is none, and what was said of it last."""

    slug: str
    entry: StrategyEntry
    current: str | None
    loaded: str | None
    retired: bool
    last: Event | None


def read_strategies(app: App) -> tuple[list[Strategy], list[str]]:
    """Return what `config/strategies/` holds, and for each file that cannot be used a line that says why."""
    paths = sorted((app.workspace.config / FOLDER).glob("*.y*ml"))
    return read_each({path: f"config/{FOLDER}/{path.name}" for path in paths})


def read_each(paths: Mapping[Path, str]) -> tuple[list[Strategy], list[str]]:
    """Return the strategies in files, given what each is called, and a line for each file that cannot be used."""
    found, problems = [], []
    for path, label in paths.items():
        try:
            found.append(read_strategy(path, label))
        except ConfigurationError as error:
            problems.append(str(error))
    return found, problems


def read_strategy(path: Path, label: str) -> Strategy:
    """Read one strategy; raise ConfigurationError with file, line and what is wrong."""
    if path.suffix != ".yaml":
        raise ConfigurationError(f"{label}: name it {path.stem}.yaml")
    document, lines = read_document(path, label)
    try:
        made = Strategy.model_validate({"slug": path.stem, **document})
    except ValidationError as error:
        raise ConfigurationError(explained(error, label, lines)) from None
    if made.strange:
        names = ", ".join(f"context.{name}" for name in NAMES)
        raise ConfigurationError(
            f"{label}:1: no context has {made.strange[0]}: there are type, component, project, tag, {names}"
        )
    if made.slug != path.stem:
        raise ConfigurationError(
            f"{label}:{lines.get(('slug',), 1)}: its slug is {made.slug!r}: name the file {made.slug}.yaml"
        )
    return made


def explained(error: ValidationError, label: str, lines: Mapping[tuple[str, ...], int] | None = None) -> str:
    """Return the first fault of a document as one line."""
    first = error.errors()[0]
    place = tuple(str(part) for part in first["loc"] if not isinstance(part, int))
    line = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), 1) if lines else None
    message = first["msg"].removeprefix("Value error, ")
    return f"{label}{'' if line is None else f':{line}'}: {'.'.join(place) or 'the strategy'}: {message}"


def changes_of(app: App, one: str, other: str | None = None) -> list[str]:
    """Return what changed between two versions, or since the version before, line by line; raise NotFoundError.

    A strategy's name stands for its version in force.
    """

    def found(name: str) -> StrategyVersion:
        wanted = name if "@" in name else standing_of(app, name).current
        kept = app.ledger.strategy_versions([str(wanted)])
        if wanted not in kept:
            raise NotFoundError(f"there is no version {name!r}: see `learning-loop strategy show {name.partition('@')[0]}`")
        return kept[wanted]

    new = found(other or one)
    if other is None and new.parent_id is None:
        earlier = [version for version in app.ledger.versions_of(new.slug) if version.id != new.id]
        if not earlier:
            raise NotFoundError(f"{new.id} is the first version of {new.slug}: there is nothing to compare it with")
        old = earlier[-1]
    else:
        old = found(one if other is not None else str(new.parent_id))
    before, after = (yaml.dump(version.document).splitlines() for version in (old, new))
    return list(difflib.unified_diff(before, after, old.id, new.id, lineterm="", n=2))


def standings(app: App) -> dict[str, Standing]:
    """Return how every strategy there ever was stands, by its slug."""
    found: dict[str, Standing] = {}
    for entry in app.ledger.strategies():
        found[entry.slug] = Standing(slug=entry.slug, entry=entry, current=None, loaded=None, retired=False, last=None)
    for event in app.ledger.events(STRATEGY):
        before, action = found.get(event.subject), event.data["action"]
        if before is None:
            continue
        if action in FORCE:
            loaded = event.data["version"] if action == "load" else before.loaded
            found[event.subject] = replace(before, current=event.data["version"], loaded=loaded, retired=False, last=event)
        elif action == "retire":
            found[event.subject] = replace(before, retired=True, last=event)
    return found


def overview(app: App, catalogue: Catalogue) -> list[dict[str, Any]]:
    """Return how every strategy stands as lists show it, the one first that rules take first."""
    order = {version.id: place for place, version in enumerate(catalogue.versions)}
    documents = {version.id: version.strategy for version in catalogue.versions}
    found = sorted(standings(app).values(), key=lambda stands: (order.get(stands.current or "", len(order)), stands.slug))
    return [
        {
            "slug": stands.slug,
            "name": stands.entry.name,
            "origin": stands.entry.origin,
            "parent": stands.entry.parent,
            "version": stands.current,
            "retired": stands.retired,
            "document": documents[stands.current].model_dump(mode="json") if stands.current in documents else None,
            "last": None if stands.last is None else {"at": stands.last.at, **stands.last.data},
        }
        for stands in found
    ]


def load(app: App) -> Catalogue:
    """Take in what people wrote since the last time, and return the versions in force.

    What a person writes outranks what evidence made of it: an edited file is in force from then on. A strategy whose file is
    gone is retired.
    """
    written, problems = read_strategies(app)
    known, now, rows = standings(app), app.clock(), list[Any]()
    usable = []
    for strategy in written:
        version, stands = version_of(strategy), known.get(strategy.slug)
        if stands is not None and stands.entry.origin != FILE:
            problems.append(f"config/{FOLDER}/{strategy.slug}.yaml: the loop has a strategy of this name: give it another slug")
            continue
        usable.append(strategy.slug)
        if stands is None or stands.loaded != version or (stands.retired and stands.last and stands.last.data["by"] == FILE):
            rows += rows_of(strategy, FILE, now)
            rows.append(said(strategy.slug, "load", version, now, by="person", reason=f"config/{FOLDER}/{strategy.slug}.yaml"))
    broken = {problem.partition(":")[0].removeprefix(f"config/{FOLDER}/").rpartition(".")[0] for problem in problems}
    for slug, stands in known.items():
        if stands.entry.origin == FILE and not stands.retired and slug not in usable and slug not in broken:
            rows.append(said(slug, "retire", stands.current, now, by=FILE, reason="its file is gone"))
    if rows:
        app.ledger.append(*rows)
        known = standings(app)
    return Catalogue.of(in_force(app, known, written), problems)


def in_force(app: App, known: Mapping[str, Standing], written: Sequence[Strategy] = ()) -> list[Version]:
    """Return the version in force of each strategy that is not retired; names and ranks as the files have them now."""
    files = {strategy.slug: strategy for strategy in written}
    wanted = [stands for stands in known.values() if stands.current is not None and not stands.retired]
    versions = app.ledger.strategy_versions([stands.current for stands in wanted if stands.current])
    found = []
    for stands in wanted:
        kept, file = versions.get(stands.current or ""), files.get(stands.slug)
        if kept is not None:
            made = Strategy.model_validate(kept.document)
            if file is not None:
                made = made.model_copy(update={"name": file.name, "rank": file.rank})
            found.append(Version(id=kept.id, strategy=made))
    return found


def rows_of(
    strategy: Strategy, origin: str, now: Any, *, parent: str | None = None, hoped: str | None = None
) -> list[StrategyEntry | StrategyVersion]:
    """Return a version as the ledger keeps it; what is on record already is not written again."""
    return [
        StrategyEntry(
            slug=strategy.slug,
            name=strategy.name,
            task_type=strategy.task_type,
            origin=origin,
            parent=None if parent is None or parent.partition("@")[0] == strategy.slug else parent.partition("@")[0],
            at=now,
        ),
        StrategyVersion(
            id=version_of(strategy),
            slug=strategy.slug,
            document=strategy.model_dump(mode="json"),
            parent_id=parent,
            origin=origin,
            reasoning=strategy.reasoning,
            expected_improvement=hoped,
            at=now,
        ),
    ]


def said(slug: str, action: str, version: str | None, now: Any, *, by: str, reason: str, **more: Any) -> Event:
    data = {"action": action, "version": version, "by": by, "reason": reason, **more}
    return Event(kind=STRATEGY, subject=slug, at=now, data=data)


def retire(app: App, slug: str, *, reason: str) -> None:
    """Take a strategy out of use, for good; raise NotFoundError or UsageError."""
    stands = standing_of(app, slug)
    if stands.retired:
        raise UsageError(f"{slug} is retired already")
    app.ledger.append(said(slug, "retire", stands.current, app.clock(), by="person", reason=reason or "a person said so"))


def revive(app: App, slug: str, version: str | None = None, *, reason: str = "") -> str:
    """Put a strategy into force again, or another version of it, and return which; raise NotFoundError or UsageError."""
    stands = standing_of(app, slug)
    wanted = version or stands.current
    if stands.entry.origin == FILE and not (app.workspace.config / FOLDER / f"{slug}.yaml").is_file():
        raise UsageError(f"its file is gone: write config/{FOLDER}/{slug}.yaml, and {slug} is in force again")
    if wanted is None or wanted not in {one.id for one in app.ledger.versions_of(slug)}:
        raise UsageError(f"{slug} has no version {wanted!r}: see `learning-loop strategy show {slug}`")
    app.ledger.append(said(slug, "revive", wanted, app.clock(), by="person", reason=reason or "a person said so"))
    return wanted


def standing_of(app: App, slug: str) -> Standing:
    known = standings(app)
    if slug not in known:
        raise NotFoundError(f"there is no strategy {slug!r}: there are {', '.join(sorted(known)) or 'none'}")
    return known[slug]
