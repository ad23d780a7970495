"""Groups whose content is not known any more, for another reason than a delivery of their own."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, update
from sqlmodel import Session

from data.models import DoubtCause, Group
from data.proof_models import Untraced


def put_in_doubt(session: Session, *where: Any, cause: DoubtCause, untraced: Untraced | None = None) -> int:
    """Put groups in doubt, all of them without a condition, and return how many; their next run writes them in full.

    `untraced` says why their receivers may hold somebody who is not known; the first reason stays. A delivery to one of
    them that is under way does not lift this doubt, however it ends.
    """
    values: dict[str, Any] = {"in_doubt": True, "doubt_cause": cause, "doubts": Group.doubts + 1}
    if untraced is not None:
        values["untraced"] = func.coalesce(Group.untraced, untraced)
    return session.exec(update(Group).where(*where).values(**values)).rowcount
