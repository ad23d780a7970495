"""how far the clock of a worker's machine is from the database's"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0020"


def upgrade() -> None:
    op.add_column("worker_beat", sa.Column("clock_ahead_s", sa.Float()))
