"""Rows that tests put in place, or change, past the actions that do so in the product."""

from __future__ import annotations

from sqlmodel import SQLModel

from core.bridge import Bridge
from data.engine import write_session
from data.models import Connection, ConnectionKind


def change_row(bridge: Bridge, table: type[SQLModel], row_id: int | None, **values: object) -> None:
    """Set columns of a row to other values."""
    with write_session(bridge.engine) as session:
        row = session.get_one(table, row_id)
        for name, value in values.items():
            setattr(row, name, value)
        session.add(row)


def build_mixpanel(bridge: Bridge, name: str, project_id: int) -> Connection:
    """Build a connection to a project that nobody asks anything."""
    return Connection(
        side="mixpanel",
        kind=ConnectionKind.MIXPANEL,
        name=name,
        project_id=project_id,
        username="a",
        base_url="https://mixpanel.invalid",
        secret=bridge.vault.encrypt("made up"),
        created_at=bridge.clock.now(),
    )


def build_folder(bridge: Bridge, name: str) -> Connection:
    """Build a connection to a folder that nothing is written to."""
    return Connection(
        side="destination",
        kind=ConnectionKind.CSV,
        name=name,
        folder=f"unused-{name}",
        created_at=bridge.clock.now(),
    )
