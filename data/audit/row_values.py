"""Rows as the audit log shows them: named as the screens do, without secrets, cut to a sane length."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import InstanceState, Mapper, class_mapper

from data.alert_models import AlertChannel
from data.models import Connection, Group, Person, Run, Sync
from data.outbox_models import AlertSetting
from data.saved_filter_models import SavedFilter
from data.token_models import ApiToken

# Sealed or not, a secret has no place in a log that is read and downloaded.
_HIDDEN = {"secret", "project_token", "address"}
_ENDS = {"secret_end", "project_token_end"}
_HIDDEN_VALUE = "(not shown)"
# Made from other columns, for the product's own use: nobody decides on it.
_DERIVED = {"address_hash", "secret_hash", "expected_since"}
_LONGEST = 500


def all_values(row: Any) -> dict[str, Any]:
    """Return the values of a row that was added or removed, but for empty ones."""
    values = _row_values(row)
    return shown_values(values, [name for name, value in values.items() if value not in (None, "", 0, False, {}, [])])


def changed_values(row: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values of a row that changed, before and after."""
    old, new = dict[str, Any](), dict[str, Any]()
    state: InstanceState[Any] = inspect(row)
    for name in column_names(get_table(row)):
        history: Any = state.attrs[name].history
        if history.has_changes():
            old[name] = history.deleted[0] if history.deleted else None
            new[name] = history.added[0] if history.added else None
    names = [name for name in new if old[name] != new[name]]
    return shown_values(old, names), shown_values(new, names)


def shown_values(values: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return these of the values as the log may show them."""
    return {name: _shown(name, values[name]) for name in names if name not in _DERIVED}


def _shown(name: str, value: Any) -> Any:
    if name in _HIDDEN:
        return _hidden(value)
    if name in _ENDS:
        return _HIDDEN_VALUE if value else value
    if name == "url" and "?" in str(value):
        # A token may be there, whatever the docs say.
        return f"{str(value).partition('?')[0]}?{_HIDDEN_VALUE}"
    return _plain(value)


def _hidden(value: Any) -> str | None:
    """Show whether there is a secret, and that two are different, but not what they are."""
    if value is None:
        return None
    return f"{_HIDDEN_VALUE} {hashlib.sha256(str(value).encode()).hexdigest()[:6]}"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict | list):
        value = json.dumps(value, default=str, sort_keys=True)
    text = str(value)
    if len(text) <= _LONGEST:
        return text
    # Two that are alike so far differ in this.
    return f"{text[:_LONGEST]} … {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def name_row(row: Any) -> str:
    """Name a row as the screens do."""
    return name_values(get_table(row), _row_values(row))


def _row_values(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in column_names(get_table(row))}


def get_table(row: Any) -> type[Any]:
    """Return the table of a row."""
    return row.__class__


def column_names(table: type[Any]) -> list[str]:
    """Return the names of a table's columns, in their order."""
    mapper: Mapper[Any] = class_mapper(table)
    return [mapper.get_property_by_column(column).key for column in mapper.columns]


def name_values(table: type[Any], values: dict[str, Any]) -> str:
    """Name a row of these values as the screens do."""
    if issubclass(table, Person):
        return values["email"]
    if issubclass(table, Connection):
        return f"{values['side']} connection {values['name']}"
    if issubclass(table, AlertChannel):
        return f"alert channel {values['name']}"
    if issubclass(table, AlertSetting):
        return "all alerts"
    if issubclass(table, Group):
        return f"group {values['name']}"
    if issubclass(table, Sync):
        return f"sync {values['id']}"
    if issubclass(table, Run):
        return f"run {values['id']}"
    if issubclass(table, ApiToken):
        return f"token {values['name']}"
    if issubclass(table, SavedFilter):
        return f"saved filter {values['name']}"
    mapper: Mapper[Any] = class_mapper(table)
    keys = [str(values.get(mapper.get_property_by_column(column).key)) for column in mapper.primary_key]
    return f"{table.__tablename__} {' '.join(keys)}"
