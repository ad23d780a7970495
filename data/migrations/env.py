"""Alembic's entry: runs inside the connection that data.engine hands over, in one transaction."""

from alembic import context
from sqlmodel import SQLModel

import data.partial_indexes  # noqa: F401
import data.tables  # noqa: F401  (fills the metadata)

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
