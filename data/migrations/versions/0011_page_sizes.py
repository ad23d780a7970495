"""what is remembered of asking a project for larger pages"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0011"
down_revision = "0010"

Text = sqlmodel.sql.sqltypes.AutoString
Moment = sqlmodel.sql.sqltypes.UTCDateTime


def upgrade() -> None:
    op.create_table(
        "page_size",
        sa.Column("project", Text(length=200), nullable=False),
        sa.Column("size", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("is_proven", sa.Boolean(), nullable=False),
        sa.Column("offered_size", sa.Integer(), nullable=True),
        sa.Column("refused_at", Moment(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("doubt", Text(length=16), nullable=True),
        sa.PrimaryKeyConstraint("project", "size"),
    )
