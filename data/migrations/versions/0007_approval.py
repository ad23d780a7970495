"""what was looked at of a held run, who decided about it, and holds that a newer run superseded"""

import json
import re
from typing import Any

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0007"
down_revision = "0006"

Text = sqlmodel.sql.sqltypes.AutoString

# A group's base moves with a run that succeeds, and that ended what was held: the base is still what was looked at.
_HELD = """
    SELECT run.id, run.error_code, run.matched_by, run.removed, run.added, run.expected, run.profiles,
           place.base_snapshot, place.members
    FROM run JOIN group_at_destination AS place ON place.id = run.group_id
    WHERE run.status = 'held' AND NOT run.dry_run
"""
_DECISIONS = "SELECT who, after FROM audit_entry WHERE action IN ('apply_held', 'discard_held') ORDER BY number"


def upgrade() -> None:
    # Not as a batch: these change the schema alone, while a batch would copy the whole table.
    for column in (
        sa.Column("approvals", sa.JSON(), nullable=True),
        sa.Column("hold", sa.JSON(), nullable=True),
        sa.Column("decided_by", Text(), nullable=True),
    ):
        op.add_column("run", column)
    op.execute("UPDATE run SET status = 'superseded' WHERE status = 'cancelled' AND step = 'replaced'")
    database = op.get_bind()
    for run in database.execute(sa.text(_HELD)).mappings().all():
        _set(database, run["id"], hold=_hold(run))
    for run in database.execute(sa.text("SELECT id, approval_key FROM run WHERE approval_key IS NOT NULL")).all():
        _set(database, run.id, approvals=[_approval(run.approval_key)])
    for decision in database.execute(sa.text(_DECISIONS)).all():
        _name_who_decided(database, decision.who, decision.after)
    op.execute("ALTER TABLE run DROP COLUMN approval_key")


def _hold(run: Any) -> dict[str, Any]:
    code, is_total = run["error_code"], run["error_code"] == "held_total"
    # Held for shrinking without losing anyone: no one knew who was in the group.
    is_unknown = code == "held_shrink" and not run["removed"]
    return {
        "cause": code,
        "matched_by": run["matched_by"],
        "base": run["base_snapshot"],
        "removed": run["members"] if is_unknown else run["removed"],
        "added": run["added"],
        "total": run["expected"] if is_total else None,
        "profiles": run["profiles"] if is_total else None,
    }


def _approval(key: str) -> dict[str, Any]:
    """Keep what is known of an approval; without numbers, it lets nothing through that would lose a member."""
    cause, _, matched_by = key.partition(" ")
    return {
        "cause": cause,
        "matched_by": matched_by,
        "base": None,
        "removed": 0,
        "added": 0,
        "total": None,
        "profiles": None,
    }


def _name_who_decided(database: sa.Connection, who: str, after: Any) -> None:
    rows = json.loads(after) if isinstance(after, str) else after
    for subject, values in rows.items():
        number = re.fullmatch(r"run (\d+)", subject)
        if number and values.get("step") in ("applied", "discarded"):
            _set(database, int(number[1]), decided_by=who)


def _set(database: sa.Connection, run_id: int, **values: Any) -> None:
    run = sa.table(
        "run",
        sa.column("id", sa.Integer),
        sa.column("approvals", sa.JSON),
        sa.column("hold", sa.JSON),
        sa.column("decided_by", sa.String),
    )
    database.execute(sa.update(run).where(run.c.id == run_id).values(**values))
