"""one lease for everything, the field's words for columns of runs"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0006"
down_revision = "0005"

Text = sqlmodel.sql.sqltypes.AutoString
Moment = sqlmodel.sql.sqltypes.UTCDateTime

_RENAMED = {
    "full": "force_full",
    "permitted": "approved",
    "permits": "approval_key",
    "restores": "restore_snapshot",
    "left_out": "excluded",
}


def upgrade() -> None:
    # Not as a batch: these change the schema alone, while a batch would copy the whole table.
    for old, new in _RENAMED.items():
        op.execute(f'ALTER TABLE run RENAME COLUMN "{old}" TO {new}')
    op.create_table(
        "lease",
        sa.Column("kind", Text(length=16), nullable=False),
        sa.Column("key", Text(length=220), nullable=False),
        sa.Column("lease_owner", Text(length=64), nullable=False),
        sa.Column("heartbeat", sa.Integer(), nullable=False),
        sa.Column("machine", Text(length=255), nullable=True),
        sa.Column("pid_namespace", Text(length=64), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("process_started", sa.BigInteger(), nullable=True),
        sa.Column("taken_at", Moment(), nullable=False),
        sa.Column("still_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "key"),
    )
