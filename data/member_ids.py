"""Which groups and runs are about Apptimize ids: some destinations know people by another id."""

from __future__ import annotations

from sqlalchemy import ColumnElement, not_, or_
from sqlalchemy.orm import Mapped

from data.models import MemberId


def is_by_apptimize_id(matched_by: Mapped[str]) -> ColumnElement[bool]:
    """Return the condition that a match setting that is kept, or none, gives Apptimize ids."""
    others = (MemberId.DISTINCT, MemberId.PROPERTY)
    return not_(or_(*(matched_by.startswith(f"{member_id}:") for member_id in others)))
