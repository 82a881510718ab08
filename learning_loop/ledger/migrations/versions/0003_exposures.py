"""What runs were shown is found among all decisions by its decision point."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_index("ix_decisions_point", "decisions", ["point"])
