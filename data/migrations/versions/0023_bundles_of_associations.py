"""the object in the storage that has the files of an association"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0026"


def upgrade() -> None:
    op.add_column("association", sa.Column("bundle", sa.String(32), nullable=False, server_default=""))
