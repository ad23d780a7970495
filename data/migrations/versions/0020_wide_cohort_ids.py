"""cohort ids as wide on PostgreSQL as they always were on SQLite"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    # SQLite keeps any whole number of 64 bits already.
    if op.get_bind().dialect.name == "postgresql":
        for table in ("group_at_destination", "sync", "run"):
            op.alter_column(table, "cohort_id", type_=sa.BigInteger(), existing_nullable=False)
