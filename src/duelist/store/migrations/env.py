"""Alembic entry point: runs the migrations on the connection that the store provides."""

from alembic import context

from duelist.store.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
