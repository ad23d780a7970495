"""connections that are replaced, and those whose groups are kept apart at one address"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0007"


def upgrade() -> None:
    # Not as a batch: these change the schema alone, while a batch would copy the whole table.
    op.add_column("connection", sa.Column("apart", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("connection", sa.Column("times_replaced", sa.Integer(), nullable=False, server_default="0"))
