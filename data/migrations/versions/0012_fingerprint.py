"""fingerprints of what runs read, the keys of fingerprints, the files that proved themselves"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0012"
down_revision = "0011"

Text = sqlmodel.sql.sqltypes.AutoString


def upgrade() -> None:
    # Not as a batch: these change the schema alone, while a batch would copy the whole table. What is null here is made
    # when a group is compared next.
    op.add_column("run", sa.Column("fingerprint", Text(length=80), nullable=True))
    op.add_column("snapshot_proof", sa.Column("key", Text(length=32), nullable=True))
    op.add_column("snapshot_proof", sa.Column("size", sa.BigInteger(), nullable=True))
    op.add_column("snapshot_proof", sa.Column("written_ns", sa.BigInteger(), nullable=True))
