"""All tables that are ours: whoever imports this has the models of each in the metadata."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import Table
from sqlmodel import SQLModel

from data import alert_models as alert_models
from data import models as models
from data import outbox_models as outbox_models
from data import pause_models as pause_models
from data import proof_models as proof_models
from data import query_models as query_models
from data import saved_filter_models as saved_filter_models
from data import sign_in_models as sign_in_models
from data import sync_models as sync_models
from data import token_models as token_models


def table_of(model: type[SQLModel]) -> Table:
    """Return the table of a model, for statements that are about columns and no objects."""
    return SQLModel.metadata.tables[cast("Any", model).__tablename__]


def list_tables() -> list[Table]:
    """List our tables, each after those that it refers to."""
    return SQLModel.metadata.sorted_tables
