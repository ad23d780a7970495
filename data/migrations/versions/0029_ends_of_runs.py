"""why a held run was let through; whether a run had begun to write"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    op.add_column("run", sa.Column("decision_note", sa.String(300), nullable=True))
    op.add_column("run", sa.Column("began_writing", sa.Boolean(), nullable=True))
