"""which worker did a run"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0022"


def upgrade() -> None:
    op.add_column("run", sa.Column("worker", sa.String(100), nullable=True))
