"""Runs migrations on the connection that `undrift.metastore.migrate` has opened."""

from alembic import context

# Only Alembic gives this file something to run; whoever else imports it (a search for doctests) finds nothing to do.
if hasattr(context, "config"):
    context.configure(connection=context.config.attributes["connection"], transaction_per_migration=False)
    context.run_migrations()
