"""where alerts go"""

import sqlalchemy as sa
import sqlmodel
from alembic import op
from sqlmodel.sql.sqltypes import UTCDateTime

revision = "0016"
down_revision = "0015"

Text = sqlmodel.sql.sqltypes.AutoString


def upgrade() -> None:
    op.create_table(
        "alert_channel",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", Text(length=100), nullable=False),
        sa.Column("kind", Text(length=16), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("shown", Text(), nullable=False),
        sa.Column("all_syncs", sa.Boolean(), nullable=False),
        sa.Column("sync_ids", sa.JSON(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("warnings", sa.Boolean(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("removed", sa.Boolean(), nullable=False),
        sa.Column("created_by", Text(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("checked_at", UTCDateTime(), nullable=True),
        sa.Column("trouble", Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    is_present = sa.text("NOT removed")
    op.create_index(
        "one_alert_channel_of_a_name",
        "alert_channel",
        ["name"],
        unique=True,
        sqlite_where=is_present,
        postgresql_where=is_present,
    )
