"""What an event says of an execution that was forgotten may be erased, where a tombstone names the event."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER append_only_events_update")
        op.execute(
            "CREATE TRIGGER append_only_events_update BEFORE UPDATE ON events "
            "WHEN NOT EXISTS (SELECT 1 FROM events WHERE kind = 'forgotten' AND subject = 'event:' || OLD.seq) "
            "BEGIN SELECT RAISE(ABORT, 'evidence is append-only: use forget'); END"
        )
