"""problems of an association's rows that a person accepts, and warnings"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0010"
down_revision = "0008"


def upgrade() -> None:
    # Not as a batch: these change the schema alone, while a batch would copy the whole table.
    accepted = sa.Column("accepted", sqlmodel.sql.sqltypes.AutoString(length=255), server_default="", nullable=False)
    op.add_column("association", accepted)
    op.add_column("association", sa.Column("warnings", sa.JSON(), server_default="{}", nullable=False))
