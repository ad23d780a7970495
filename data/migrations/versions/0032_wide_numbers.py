"""on PostgreSQL: the numbers that rows are known by, and that of deliveries, as wide as they always were on SQLite"""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"

# Each table is written again once, whatever it has of these. SQLite keeps any whole number of 64 bits already.
_COLUMNS = {
    "alert_channel": ("id",),
    "alert_message": ("id", "state_id", "channel_id"),
    "alert_setting": ("id",),
    "alert_state": ("id", "sync_id"),
    "api_token": ("id", "created_by_id"),
    "association": ("id", "mixpanel_id", "project_id"),
    "association_batch": ("association_id", "start"),
    "audit_entry": ("number",),
    "connection": ("id", "project_id", "workspace_id"),
    "delivery_count": ("id", "number"),
    "group_at_destination": ("id", "destination_id", "project_id", "base_run_id"),
    "installation": ("id",),
    "left_place": ("id", "connection_id"),
    "page_size": ("size",),
    "person": ("id",),
    "query_spend": ("id",),
    "run": ("id", "sync_id", "group_id"),
    "run_log": ("run_id",),
    "sign_in": ("person_id",),
    "sync": ("id", "mixpanel_id", "group_id", "project_id"),
    "tried_delivery": ("group_id", "run_id"),
}
# What counts up a table's numbers is as wide as those were.
_COUNTED = sa.text("SELECT pg_get_serial_sequence(:table, :column)")


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    for table, columns in _COLUMNS.items():
        op.execute(f'ALTER TABLE "{table}" ' + ", ".join(f'ALTER COLUMN "{name}" TYPE bigint' for name in columns))
        counted = _COUNTED.bindparams(table=f'"{table}"', column=columns[0])
        if sequence := connection.execute(counted).scalar():
            op.execute(f"ALTER SEQUENCE {sequence} AS bigint")
