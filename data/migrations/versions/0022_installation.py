"""which storage and which keys are an installation's own; what workers are called, and which schema they know"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0022"
down_revision = "0023"

Text = sqlmodel.sql.sqltypes.AutoString


def upgrade() -> None:
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("storage_id", Text(length=64), nullable=True),
        sa.Column("storage_address", Text(length=400), nullable=True),
        sa.Column("key_checks", Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.add_column("worker_beat", sa.Column("label", Text(length=64), nullable=True))
    op.add_column("worker_beat", sa.Column("revision", Text(length=16), nullable=True))
