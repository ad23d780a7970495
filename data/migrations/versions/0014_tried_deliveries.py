"""whom deliveries were begun with that nobody confirmed, and whether all of those are known"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0014"
down_revision = "0013"

Text = sqlmodel.sql.sqltypes.AutoString


def upgrade() -> None:
    op.create_table(
        "tried_delivery",
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("snapshot", Text(length=64), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["group_at_destination.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("group_id", "snapshot"),
    )
    # Not as a batch: this changes the schema alone, while a batch would copy the whole table.
    op.add_column("group_at_destination", sa.Column("untraced", Text(length=16), nullable=True))
    # What was begun until now was not recorded.
    op.execute("UPDATE group_at_destination SET untraced = 'delivery' WHERE in_doubt")
