"""set times of syncs, pauses with an end"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0019"
down_revision = "0018"

Text = sqlmodel.sql.sqltypes.AutoString


def upgrade() -> None:
    op.add_column("sync", sa.Column("cron", Text(), nullable=True))
    op.add_column("sync", sa.Column("zone", Text(), nullable=True))
    op.add_column("sync", sa.Column("paused_until", sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True))
    op.add_column("sync", sa.Column("expected_since", sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True))
