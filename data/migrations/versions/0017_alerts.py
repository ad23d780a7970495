"""what is not well, and the outbox of messages about it"""

import sqlalchemy as sa
import sqlmodel
from alembic import op
from sqlmodel.sql.sqltypes import UTCDateTime

revision = "0017"
down_revision = "0016"

Text = sqlmodel.sql.sqltypes.AutoString


def upgrade() -> None:
    op.create_table(
        "alert_state",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("subject", Text(length=300), nullable=False),
        sa.Column("condition", Text(length=32), nullable=False),
        sa.Column("severity", Text(length=16), nullable=False),
        sa.Column("sync_id", sa.Integer(), nullable=True),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("opened_at", UTCDateTime(), nullable=False),
        sa.Column("changed_at", UTCDateTime(), nullable=False),
        sa.Column("told_at", UTCDateTime(), nullable=True),
        sa.Column("messages", sa.Integer(), nullable=False),
        sa.Column("muted", sa.Boolean(), nullable=False),
        sa.Column("closed_at", UTCDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["sync_id"], ["sync.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_alert_state_subject", "alert_state", ["subject"])
    op.create_index("ix_alert_state_sync_id", "alert_state", ["sync_id"])
    is_open = sa.text("closed_at IS NULL")
    op.create_index(
        "one_open_alert_of_a_subject",
        "alert_state",
        ["subject"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_table(
        "alert_message",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", Text(length=32), nullable=False),
        sa.Column("state_id", sa.Integer(), nullable=False),
        sa.Column("channel_id", sa.Integer(), nullable=False),
        sa.Column("subject", Text(length=300), nullable=False),
        sa.Column("event", Text(length=32), nullable=False),
        sa.Column("severity", Text(length=16), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("written_at", UTCDateTime(), nullable=False),
        sa.Column("status", Text(length=16), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try_at", UTCDateTime(), nullable=False),
        sa.Column("sender", Text(length=64), nullable=True),
        sa.Column("ended_at", UTCDateTime(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("seen_by", Text(length=320), nullable=True),
        sa.ForeignKeyConstraint(["state_id"], ["alert_state.id"]),
        sa.ForeignKeyConstraint(["channel_id"], ["alert_channel.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    for column in ("state_id", "channel_id", "status", "written_at"):
        op.create_index(f"ix_alert_message_{column}", "alert_message", [column])
    op.create_table(
        "alert_setting",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("failing_after", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
