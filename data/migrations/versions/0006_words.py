"""the field's words for columns of runs"""

from alembic import op

revision = "0006"
down_revision = "0005"

_RENAMED = {
    "full": "force_full",
    "permitted": "approved",
    "permits": "approval_key",
    "restores": "restore_snapshot",
    "left_out": "excluded",
}


def upgrade() -> None:
    # Not as a batch: a rename changes the schema alone, while a batch would copy the whole table.
    for old, new in _RENAMED.items():
        op.execute(f'ALTER TABLE run RENAME COLUMN "{old}" TO {new}')
