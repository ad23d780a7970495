"""filters that people keep under a name; the times that syncs were paused"""

import sqlalchemy as sa
import sqlmodel
from alembic import op
from sqlmodel.sql.sqltypes import UTCDateTime

revision = "0028"
down_revision = "0032"

Text = sqlmodel.sql.sqltypes.AutoString
Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "saved_filter",
        sa.Column("id", Number, nullable=False),
        sa.Column("person_id", Number, nullable=False),
        sa.Column("page", Text(length=32), nullable=False),
        sa.Column("name", Text(length=60), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("person_id", "page", "name"),
    )
    op.create_table(
        "sync_pause",
        sa.Column("id", Number, nullable=False),
        sa.Column("sync_id", Number, nullable=False),
        sa.Column("began_at", UTCDateTime(), nullable=False),
        sa.Column("ended_at", UTCDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["sync_id"], ["sync.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_sync_pause_sync_id", "sync_pause", ["sync_id"])
