"""runs in the order in which they ended, those of a group and all of them"""

from alembic import op

revision = "0033"
down_revision = "0029"


def upgrade() -> None:
    op.create_index("run_by_end", "run", ["finished_at", "id"])
    op.create_index("run_of_group_by_end", "run", ["group_id", "finished_at", "id"])
