"""screens"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("sync", schema=None) as batch_op:
        batch_op.add_column(sa.Column("tags", sa.JSON(), nullable=False, server_default="[]"))

    op.create_table(
        "run_log",
        sa.Column("run_id", sa.Integer(), sa.ForeignKey("run.id", ondelete="CASCADE"), nullable=False),
        sa.Column("log", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )

    changed = sa.text("difference IS NOT NULL")
    op.create_index("run_that_changed_group", "run", ["group_id"], sqlite_where=changed, postgresql_where=changed)
    op.create_index("run_slots_met", "run", ["trigger", "status", "queued_at", "sync_id"])
    op.create_index("run_by_time", "run", ["queued_at", "status", "dry_run"])
    op.create_index("run_group_ended", "run", ["group_id", "status", "dry_run", "finished_at"])
    op.create_index(op.f("ix_run_actor"), "run", ["actor"])
    op.create_index(op.f("ix_run_cohort_id"), "run", ["cohort_id"])
