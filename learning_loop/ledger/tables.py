"""The tables: one per evidence record, its fields as columns, plus `seq`, the order in which rows came."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, String, Table, Text

from learning_loop import records

HEAD = "0006"  # the newest migration; known here so that opening an up-to-date ledger need not import Alembic


class Timestamp(sa.types.TypeDecorator[datetime]):
    """A moment, kept as ISO 8601 text in UTC: sorts as text, reads back with its zone on any database."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> str | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        return None if value is None else datetime.fromisoformat(value)


class Texts(sa.types.TypeDecorator[tuple[Any, ...]]):
    """A tuple, kept as a JSON list."""

    impl = sa.JSON
    cache_ok = True

    def process_bind_param(self, value: tuple[Any, ...] | None, dialect: Any) -> list[Any] | None:  # noqa: ARG002
        return None if value is None else list(value)

    def process_result_value(self, value: list[Any] | None, dialect: Any) -> tuple[Any, ...] | None:  # noqa: ARG002
        return None if value is None else tuple(value)


metadata = sa.MetaData()


def _seq() -> Column[int]:
    """Return the order of rows; AUTOINCREMENT below never gives a place twice, even where a row was erased."""
    return Column("seq", Integer, primary_key=True, autoincrement=True)


def _execution(**options: Any) -> Column[str]:
    return Column("execution_id", String(64), ForeignKey("executions.id"), nullable=False, **options)


executions = Table(
    "executions",
    metadata,
    _seq(),
    Column("id", String(64), nullable=False, unique=True),
    Column("task_id", Text, nullable=False, index=True),
    Column("task_type", Text, nullable=False),
    Column("component", Text),
    Column("agent", Text),
    Column("description", Text),
    Column("parameters", sa.JSON, nullable=False),
    Column("dependencies", Texts, nullable=False),
    Column("assumptions", Texts, nullable=False),
    Column("tags", Texts, nullable=False),
    Column("project", Text),
    Column("sprint", Text),
    Column("parent_id", String(64)),
    Column("critical", Boolean, nullable=False),
    Column("idempotent", Boolean, nullable=False),
    Column("inputs_digest", String(64)),
    Column("inputs_preview", Text),
    Column("started_at", Timestamp, nullable=False, index=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started_at", Float),
    sqlite_autoincrement=True,
)

running = Table(  # not evidence: which executions have no outcome yet, so that the dead are found without a search
    "running",
    metadata,
    _execution(primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started_at", Float),
)

answers = Table(  # not evidence: what was answered to requests that may come again, kept for a while
    "answers",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("request", String(64), nullable=False),
    Column("at", Timestamp, nullable=False, index=True),
    Column("status", Integer),
    Column("body", Text),
)

phases = Table(
    "phases",
    metadata,
    _seq(),
    _execution(index=True),
    Column("phase", String(16), nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("data", sa.JSON, nullable=False),
    sqlite_autoincrement=True,
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _seq(),
    _execution(index=True),
    Column("name", Text, nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("elapsed_s", Float, nullable=False),
    Column("data", sa.JSON, nullable=False),
    sqlite_autoincrement=True,
)

decisions = Table(
    "decisions",
    metadata,
    _seq(),
    Column("id", String(64), nullable=False, unique=True),
    Column("execution_id", String(64), ForeignKey("executions.id"), index=True),
    Column("point", Text, nullable=False, index=True),
    Column("alternatives", Texts, nullable=False),
    Column("probabilities", Texts),
    Column("chosen", Text, nullable=False),
    Column("propensity", Float),
    Column("policy", Text, nullable=False),
    Column("context", sa.JSON, nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("latency_us", Float),
    sqlite_autoincrement=True,
)

credits_ = Table(
    "credits",
    metadata,
    _seq(),
    Column("decision_id", String(64), ForeignKey("decisions.id"), nullable=False, unique=True),
    Column("execution_id", String(64), ForeignKey("executions.id"), index=True),
    Column("value", Float, nullable=False),
    Column("source", Text, nullable=False),
    Column("at", Timestamp, nullable=False),
    sqlite_autoincrement=True,
)

usage = Table(
    "usage",
    metadata,
    _seq(),
    _execution(index=True),
    Column("step_id", Text),
    Column("model", Text, nullable=False),
    Column("provider", Text),
    Column("tokens", Integer),
    Column("latency_ms", Float),
    Column("cost_usd", Float),
    Column("success", Boolean, nullable=False),
    Column("error_code", String(32)),
    Column("error_message", Text),
    Column("at", Timestamp, nullable=False),
    sqlite_autoincrement=True,
)

steps = Table(
    "steps",
    metadata,
    _seq(),
    _execution(index=True),
    Column("step_id", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("file_path", Text),
    Column("output_hash", String(64)),
    Column("repeats", Text),
    Column("started_at", Timestamp),
    Column("ended_at", Timestamp),
    Column("duration_ms", Float),
    sqlite_autoincrement=True,
)

outcomes = Table(
    "outcomes",
    metadata,
    _seq(),
    _execution(unique=True),
    Column("task_type", Text, nullable=False),
    Column("component", Text),
    Column("project", Text),
    Column("status", String(16), nullable=False),
    Column("success", Boolean),
    Column("ended_at", Timestamp, nullable=False),
    Column("score", Float),
    Column("tests_passed", Integer),
    Column("tests_total", Integer),
    Column("exit_code", Integer),
    Column("error_type", Text),
    Column("error_message", Text),
    Column("error_fingerprint", String(64), index=True),
    Column("output_tail", Text),
    Column("result_digest", String(64)),
    Column("result_preview", Text),
    Column("duration_s", Float),
    Column("cpu_s", Float),
    Column("peak_memory_bytes", Integer),
    Column("cost_usd", Float),
    Column("tokens", Integer),
    Column("attempts", Integer, nullable=False),
    Column("successful_attempts", Integer, nullable=False),
    Column("failed_attempts", Integer, nullable=False),
    Column("fallback_rotations", Integer, nullable=False),
    Column("mean_latency_ms", Float),
    Column("shape", Texts, nullable=False),
    Index("ix_outcomes_kind", "task_type", "component", "project", "seq"),
    sqlite_autoincrement=True,
)

feedback = Table(
    "feedback",
    metadata,
    _seq(),
    _execution(index=True),
    Column("metric", Text, nullable=False),
    Column("value", Float),
    Column("text", Text),
    Column("source", Text, nullable=False),
    Column("at", Timestamp, nullable=False),
    sqlite_autoincrement=True,
)

scores = Table(
    "scores",
    metadata,
    _seq(),
    _execution(index=True),
    Column("scoring", Text, nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("accuracy", Float),
    Column("efficiency", Float),
    Column("reusability", Float),
    Column("surprise", Float),
    Column("overall", Float),
    Column("basis", sa.JSON, nullable=False),
    sqlite_autoincrement=True,
)

note_versions = Table(
    "note_versions",
    metadata,
    _seq(),
    Column("note_id", String(64), nullable=False, index=True),
    Column("path", Text, nullable=False),
    Column("subject", Text, nullable=False, index=True),
    Column("digest", String(64), nullable=False),
    Column("execution_id", String(64)),
    Column("at", Timestamp, nullable=False),
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    metadata,
    _seq(),
    Column("kind", String(32), nullable=False, index=True),
    Column("subject", Text, nullable=False, index=True),
    Column("at", Timestamp, nullable=False),
    Column("data", sa.JSON, nullable=False),
    sqlite_autoincrement=True,
)

strategies = Table(
    "strategies",
    metadata,
    _seq(),
    Column("slug", String(64), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("task_type", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("parent", String(64)),
    Column("at", Timestamp, nullable=False),
    sqlite_autoincrement=True,
)

strategy_versions = Table(
    "strategy_versions",
    metadata,
    _seq(),
    Column("id", String(80), nullable=False, unique=True),
    Column("slug", String(64), ForeignKey("strategies.slug"), nullable=False, index=True),
    Column("document", sa.JSON, nullable=False),
    Column("parent_id", String(80)),
    Column("origin", Text, nullable=False),
    Column("reasoning", Text, nullable=False),
    Column("expected_improvement", Text),
    Column("at", Timestamp, nullable=False),
    sqlite_autoincrement=True,
)

TABLE_OF: dict[type, Table] = {
    records.Execution: executions,
    records.Phase: phases,
    records.Checkpoint: checkpoints,
    records.Decision: decisions,
    records.Credit: credits_,
    records.Usage: usage,
    records.Step: steps,
    records.Outcome: outcomes,
    records.Feedback: feedback,
    records.Score: scores,
    records.NoteVersion: note_versions,
    records.Event: events,
    records.StrategyEntry: strategies,
    records.StrategyVersion: strategy_versions,
}

OF_EXECUTION = (
    phases,
    checkpoints,
    credits_,
    decisions,
    usage,
    steps,
    outcomes,
    feedback,
    scores,
)  # erased with their execution
