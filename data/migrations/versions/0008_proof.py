"""proofs of snapshots, the count of deliveries, why a group is in doubt"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0008"
down_revision = "0009"

Text = sqlmodel.sql.sqltypes.AutoString
Moment = sqlmodel.sql.sqltypes.UTCDateTime

# Runs that share a snapshot changed nothing since: all of them have as many members. Fingerprints are worked out when
# a snapshot is used next.
_PROOFS = """
    INSERT INTO snapshot_proof (name, members)
    SELECT snapshot, MAX(members) FROM run WHERE snapshot IS NOT NULL GROUP BY snapshot
"""
_PROOFS_OF_BASES = """
    INSERT INTO snapshot_proof (name, members)
    SELECT base_snapshot, MAX(members) FROM group_at_destination
    WHERE base_snapshot IS NOT NULL AND base_snapshot NOT IN (SELECT name FROM snapshot_proof)
    GROUP BY base_snapshot
"""


def upgrade() -> None:
    op.create_table(
        "snapshot_proof",
        sa.Column("name", Text(length=64), nullable=False),
        sa.Column("members", sa.Integer(), nullable=False),
        sa.Column("fingerprint", Text(length=80), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.execute(_PROOFS)
    op.execute(_PROOFS_OF_BASES)
    op.create_table(
        "delivery_count",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("noticed_at", Moment(), nullable=True),
        sa.Column("noticed_why", Text(length=16), nullable=True),
        sa.Column("noticed_anchor", Text(length=100), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.execute("INSERT INTO delivery_count (id, number, noticed_anchor) VALUES (1, 0, '')")
    # Not as a batch: these change the schema alone, while a batch would copy the whole table.
    op.add_column("run", sa.Column("notice", Text(), nullable=True))
    op.add_column("group_at_destination", sa.Column("doubt_cause", Text(length=16), nullable=True))
    op.add_column("group_at_destination", sa.Column("doubts", sa.Integer(), server_default="0", nullable=False))
