"""when a worker last looked through the whole storage"""

import sqlalchemy as sa
from alembic import op
from sqlmodel.sql.sqltypes import UTCDateTime

revision = "0031"
down_revision = "0027"


def upgrade() -> None:
    op.add_column("installation", sa.Column("searched_at", UTCDateTime(), nullable=True))
