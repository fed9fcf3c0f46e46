"""Run by alembic: brings the connection that it is given to the newest shape."""

from alembic import context

from modelshelf.catalog.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
context.config.attributes["connection"].commit()
