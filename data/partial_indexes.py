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


def _add(name: str, column: object, where: str, *, unique: bool = False) -> None:
    Index(name, col(column), unique=unique, sqlite_where=text(where), postgresql_where=text(where))


# The one guard against two writers: at most one run of a group may be running.
_add("one_active_run_per_group", Run.group_id, "status = 'running' AND NOT dry_run", unique=True)
# What the screens ask for among very many runs: whom a group gained and lost.
_add("run_that_changed_group", Run.group_id, "difference IS NOT NULL")
# A name is free again once its channel is removed.
_add("one_alert_channel_of_a_name", AlertChannel.name, "NOT removed", unique=True)
# What is not well is told once: of one subject at most one alert is open.
_add("one_open_alert_of_a_subject", AlertState.subject, "closed_at IS NULL", unique=True)
