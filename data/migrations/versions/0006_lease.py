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
_MOVED = {
    "run": ("owner", "beat"),
    "association": ("owner", "beat"),
    "cohort_list": ("reader", "reader_since"),
}
# What is held now stays held, with its heartbeat: if its process ended before the update, it is found dead after it.
_HELD = """
    INSERT INTO lease (kind, key, lease_owner, heartbeat, taken_at, still_s)
    SELECT 'run', CAST(id AS VARCHAR), owner, beat, COALESCE(started_at, queued_at), 0
    FROM run WHERE owner IS NOT NULL
    UNION ALL
    SELECT 'association', CAST(id AS VARCHAR), owner, beat, COALESCE(started_at, created_at), 0
    FROM association WHERE owner IS NOT NULL
    UNION ALL
    SELECT 'cohort_list', project, reader, 0, COALESCE(reader_since, read_at), 0
    FROM cohort_list WHERE reader IS NOT NULL
    UNION ALL
    SELECT 'query_slot', project || '/' || CAST(number AS VARCHAR), holder, beat, CURRENT_TIMESTAMP, 0
    FROM query_slot WHERE holder IS NOT NULL
"""


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
    op.execute(_HELD)
    for table, columns in _MOVED.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    op.drop_table("query_slot")
    # Rows that were only the place where readers met: no list was ever read.
    op.execute("DELETE FROM cohort_list WHERE read_at < '1971-01-01'")
