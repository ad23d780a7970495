"""The indexes of a part of a table: what a migration compares the database with, besides the tables.

They stand apart since they name both kinds of database, which loads what SQLAlchemy has for either: a twentieth of the
start of a command that migrates nothing.
"""

from __future__ import annotations

from sqlalchemy import Index, text
from sqlmodel import col

from data.alert_models import AlertChannel
from data.models import Run
from data.outbox_models import AlertState


def _add(name: str, *columns: object, where: str, unique: bool = False) -> None:
    each = [col(column) for column in columns]
    Index(name, *each, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


# The one guard against two writers: at most one run of a group may be running.
_add("one_active_run_per_group", Run.group_id, where="status = 'running' AND NOT dry_run", unique=True)
# What a worker looks at to take the next: among very many runs, those that wait, in their order.
_add("run_to_claim", Run.queued_at, Run.id, where="(status IN ('queued', 'waiting')) IS TRUE")
# What the screens ask for among very many runs: whom a group gained and lost.
_add("run_that_changed_group", Run.group_id, where="difference IS NOT NULL")
# A name is free again once its channel is removed.
_add("one_alert_channel_of_a_name", AlertChannel.name, where="NOT removed", unique=True)
# What is not well is told once: of one subject at most one alert is open.
_add("one_open_alert_of_a_subject", AlertState.subject, where="closed_at IS NULL", unique=True)
