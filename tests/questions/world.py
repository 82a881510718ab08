"""A workspace with a year of history: 2,000 executions and the notes of a studio that builds booking sites.

Everything is drawn from one seed, so that what happened is known exactly; the effects that questions ask about are
planted in `_success` and `_duration`. `fill` writes it through the ledger and as markdown files, as any history would be.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from learning_loop.app import App
from learning_loop.features import fingerprint
from learning_loop.records import Execution, Outcome, Score, new_id

NOW = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)  # a Friday, in week 47
FIRST = datetime(2025, 12, 1, 8, 0, tzinfo=UTC)
COUNT = 2_000

COMPONENTS: dict[str, tuple[str, tuple[str, ...], float]] = {  # its task type, its tags, how often it is worked on
    "booking-form": ("component", ("ui", "booking"), 9),
    "reiki-landing": ("component", ("ui", "reiki"), 6),
    "practitioner-profile": ("component", ("ui", "reiki"), 5),
    "gallery": ("component", ("ui",), 4),
    "client-portal": ("component", ("ui", "auth"), 5),
    "square-api": ("integration", ("payments", "api"), 9),
    "payment-webhook": ("integration", ("payments", "api"), 6),
    "calendar-sync": ("integration", ("booking", "api"), 8),
    "sms-gateway": ("integration", ("messages", "api"), 4),
    "email-reminders": ("integration", ("messages",), 5),
    "auth-service": ("test", ("auth", "backend"), 6),
    "search-index": ("test", ("backend",), 5),
    "image-pipeline": ("etl", ("nightly", "media"), 7),
    "ledger-export": ("etl", ("nightly", "payments"), 6),
    "customer-db": ("migration", ("backend", "nightly"), 4),
    "web-frontend": ("deploy", ("release",), 8),
}
AGENTS = ("iris", "otto", "juno", "bruno", "marlow")
ERRORS = {  # a name people use for it: what the run said, with what varies in it
    "timeout": ("TimeoutError", "the request to {host} timed out after {n} s"),
    "connection refused": ("ConnectionRefusedError", "[Errno 111] Connection refused: {host}:{port}"),
    "rate limit": ("RateLimitError", "HTTP 429 Too Many Requests from {host}, retry after {n} s"),
    "signature mismatch": ("SignatureError", "webhook signature mismatch for event {hex}"),
    "missing module": ("ModuleNotFoundError", "No module named 'httpx'"),
    "disk full": ("OSError", "[Errno 28] No space left on device: '/var/tmp/{hex}'"),
    "deadlock": ("DeadlockDetected", "deadlock detected: process {n} waits for transaction {port}"),
    "expired token": ("TokenExpiredError", "access token {hex} expired"),
    "failed assertion": ("AssertionError", "expected {n} slots but found {port}"),
    "out of memory": ("MemoryError", "cannot allocate {port} MB for image {hex}"),
    "invalid certificate": ("SSLCertVerificationError", "certificate verify failed for {host}: certificate has expired"),
}
ERRORS_OF = {  # which errors a component meets, the commonest first, with weights
    "booking-form": {"failed assertion": 7, "timeout": 2},
    "reiki-landing": {"missing module": 3, "failed assertion": 2},
    "practitioner-profile": {"failed assertion": 3},
    "gallery": {"out of memory": 3, "failed assertion": 1},
    "client-portal": {"expired token": 5, "timeout": 1},
    "square-api": {"rate limit": 8, "signature mismatch": 4, "timeout": 2},
    "payment-webhook": {"signature mismatch": 7, "connection refused": 2},
    "calendar-sync": {"timeout": 8, "expired token": 3},
    "sms-gateway": {"rate limit": 4, "connection refused": 2},
    "email-reminders": {"connection refused": 4, "invalid certificate": 1},
    "auth-service": {"expired token": 4, "failed assertion": 3},
    "search-index": {"out of memory": 3, "timeout": 2},
    "image-pipeline": {"disk full": 6, "out of memory": 3},
    "ledger-export": {"deadlock": 3, "disk full": 2},
    "customer-db": {"deadlock": 6},
    "web-frontend": {"invalid certificate": 2, "connection refused": 4},
}
PROJECT_OF: dict[str | None, str] = {"gallery": "atelier"}  # the rest belongs to none
HOSTS = ("api.square.local", "calendar.local", "smtp.local", "sms.local")


@dataclass(frozen=True, slots=True)
class Happened:
    """One execution as the generator knows it: what a question's answer is worked out from."""

    id: str
    type: str
    component: str
    agent: str
    tags: tuple[str, ...]
    success: bool
    error: str | None  # a key of ERRORS
    message: str | None
    started_at: datetime
    duration_s: float
    score: float
    project: str | None = None


@dataclass(frozen=True, slots=True)
class WrittenNote:
    """One note as the generator knows it."""

    key: str
    path: str
    kind: str
    title: str
    body: str
    component: str | None
    tags: tuple[str, ...]
    outcome: str | None
    created: datetime
    evidence: tuple[str, ...]
    project: str | None = None


@dataclass(frozen=True, slots=True)
class World:
    executions: tuple[Happened, ...]
    notes: tuple[WrittenNote, ...]


def _success(component: str, agent: str, at: datetime) -> float:
    """Return how likely a run succeeds: this is where the planted effects stand."""
    chance = {"square-api": 0.68, "calendar-sync": 0.80, "customer-db": 0.70, "web-frontend": 0.88}.get(component, 0.82)
    chance += {"iris": 0.06, "otto": 0.0, "juno": 0.02, "bruno": -0.10, "marlow": 0.0}[agent]
    if component == "square-api":
        chance += {"juno": 0.22, "otto": -0.30}.get(agent, 0.0)
    if component == "booking-form":
        chance += {"iris": 0.10, "bruno": -0.25}.get(agent, 0.0)
    if component == "calendar-sync" and at >= datetime(2026, 8, 1, tzinfo=UTC):
        chance -= 0.40  # the provider became slow in August
    if component == "web-frontend" and at >= datetime(2026, 6, 1, tzinfo=UTC):
        chance += 0.09  # since the release check list of June
    return min(0.98, max(0.05, chance))


def _duration(component: str, at: datetime, rng: random.Random) -> float:
    """Return seconds: image-pipeline becomes three times slower over the year, search-index twice as fast in May."""
    usual = {"image-pipeline": 240.0, "ledger-export": 120.0, "customer-db": 300.0, "web-frontend": 180.0, "search-index": 80.0}
    seconds = usual.get(component, 40.0) * rng.lognormvariate(0, 0.25)
    if component == "image-pipeline":
        seconds *= 1 + 2 * (at - FIRST) / (NOW - FIRST)
    if component == "search-index" and at >= datetime(2026, 5, 4, tzinfo=UTC):
        seconds *= 0.5
    return seconds


def make_world(seed: int = 2026) -> World:
    """Return the history; the same for the same seed."""
    rng = random.Random(seed)
    names, weights = list(COMPONENTS), [weight for _, _, weight in COMPONENTS.values()]
    moments = sorted(FIRST + (NOW - FIRST) * rng.random() for _ in range(COUNT))
    happened = []
    for at in moments:
        component = rng.choices(names, weights)[0]
        task_type, tags, _ = COMPONENTS[component]
        agent = rng.choice(AGENTS)
        success = rng.random() < _success(component, agent, at)
        error = None
        if not success:
            found = ERRORS_OF[component]
            error = rng.choices(list(found), list(found.values()))[0]
        happened.append(
            Happened(
                id=new_id(at, rng),
                type=task_type,
                component=component,
                agent=agent,
                tags=(*tags, "hotfix") if rng.random() < 0.04 else tags,
                success=success,
                error=error,
                message=_message(error, rng) if error else None,
                started_at=at,
                duration_s=_duration(component, at, rng),
                score=min(100.0, max(0.0, rng.gauss(86, 6) if success else rng.gauss(25, 8))),
                project=PROJECT_OF.get(component),
            )
        )
    return World(tuple(happened), tuple(_notes(happened, rng)))


def _message(error: str, rng: random.Random) -> str:
    return ERRORS[error][1].format(
        host=rng.choice(HOSTS), n=rng.randrange(5, 90), port=rng.randrange(1_000, 9_000), hex=f"{rng.getrandbits(48):x}"
    )


def _notes(happened: list[Happened], rng: random.Random) -> Iterator[WrittenNote]:
    for key, given in yaml.safe_load((Path(__file__).parent / "notes.yaml").read_text(encoding="utf-8")).items():
        component, outcome = given.get("component"), given.get("outcome")
        fitting = [
            run.id
            for run in happened
            if run.component == component and (outcome is None or run.success == (outcome == "succeeded"))
        ]
        yield WrittenNote(
            key=key,
            path=f"memory/{given['folder']}/{key}.md",
            kind=given["kind"],
            title=given["title"],
            body=given["body"],
            component=component,
            tags=tuple(given.get("tags", ())),
            outcome=outcome,
            created=datetime.fromisoformat(given["created"]).replace(tzinfo=UTC),
            evidence=tuple(sorted(rng.sample(fitting, min(3, len(fitting))))),
            project=PROJECT_OF.get(component),
        )


def fill(app: App, world: World) -> None:
    """Write the history into a workspace: executions through its ledger, notes as files."""
    rows: list[Any] = []
    for run in world.executions:
        rows += _records(run, app.settings.scoring.version)
    app.ledger.append(*rows)
    for note in world.notes:
        meta = {
            "id": note.key,
            "kind": note.kind,
            "title": note.title,
            "created": note.created,
            "component": note.component,
            "project": note.project,
            "tags": list(note.tags) or None,
            "outcome": note.outcome,
            "evidence": list(note.evidence) or None,
        }
        front = yaml.safe_dump({name: value for name, value in meta.items() if value is not None}, sort_keys=False)
        path = app.workspace.root / note.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"---\n{front}---\n{note.body}", encoding="utf-8")


def _records(run: Happened, scoring: str) -> tuple[Execution, Outcome, Score]:
    ended_at = run.started_at + timedelta(seconds=run.duration_s)
    error_type = ERRORS[run.error][0] if run.error else None
    execution = Execution(
        id=run.id,
        task_id=f"{run.type}-{run.component}",
        task_type=run.type,
        component=run.component,
        agent=run.agent,
        description=None,
        parameters={},
        dependencies=(),
        assumptions=(),
        tags=run.tags,
        project=run.project,
        sprint=None,
        parent_id=None,
        critical=False,
        idempotent=False,
        inputs_digest=None,
        inputs_preview=None,
        started_at=run.started_at,
        host="studio",
        pid=1,
        process_started_at=None,
    )
    outcome = Outcome(
        execution_id=run.id,
        task_type=run.type,
        component=run.component,
        project=run.project,
        status="succeeded" if run.success else "failed",
        success=run.success,
        ended_at=ended_at,
        error_type=error_type,
        error_message=run.message,
        error_fingerprint=fingerprint(error_type, run.message) if error_type else None,
        duration_s=run.duration_s,
    )
    score = Score(
        execution_id=run.id,
        scoring=scoring,
        at=ended_at,
        accuracy=100.0 if run.success else 0.0,
        efficiency=None,
        reusability=None,
        surprise=None,
        overall=run.score,
        basis={},
    )
    return execution, outcome, score
