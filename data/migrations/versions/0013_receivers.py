"""how a receiver is signed in to, which id it knows people by, and whether it removes anybody by itself"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0013"
down_revision = "0012"

Text = sqlmodel.sql.sqltypes.AutoString


def upgrade() -> None:
    # Not as a batch: these change the schema alone, while a batch would copy the whole table. Empty is Apptimize's way.
    for name, length in (("address_hash", 64), ("sign_in", 16), ("member_id", 16)):
        op.add_column("connection", sa.Column(name, Text(length=length), nullable=False, server_default=""))
    for name in ("sign_in_name", "member_property", "member_key"):
        op.add_column("connection", sa.Column(name, Text(), nullable=False, server_default=""))
    op.add_column("connection", sa.Column("address", sa.Text(), nullable=True))
    op.add_column("connection", sa.Column("adds_only", sa.Boolean(), nullable=False, server_default=sa.false()))
