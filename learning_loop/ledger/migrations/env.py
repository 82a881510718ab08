"""Alembic's entry: runs the migrations on the connection that `Ledger.open` hands over."""

from alembic import context

from learning_loop.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
