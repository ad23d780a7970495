"""the runs that wait, in the order in which they are claimed"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0024"


def upgrade() -> None:
    waiting = sa.text("(status IN ('queued', 'waiting')) IS TRUE")
    op.create_index("run_to_claim", "run", ["queued_at", "id"], sqlite_where=waiting, postgresql_where=waiting)
