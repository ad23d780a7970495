"""Alembic's entry: runs inside the connection that data.engine hands over, in one transaction."""

from alembic import context
from sqlmodel import SQLModel

import data.alert_models  # noqa: F401
import data.models  # noqa: F401  (fills the metadata)
import data.outbox_models  # noqa: F401
import data.partial_indexes  # noqa: F401
import data.proof_models  # noqa: F401
import data.query_models  # noqa: F401
import data.sign_in_models  # noqa: F401

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
