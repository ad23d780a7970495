"""Groups whose content is not known any more, for another reason than a delivery of their own."""

from __future__ import annotations

from typing import Any

from sqlalchemy import update
from sqlmodel import Session

from data.models import DoubtCause, Group


def put_in_doubt(session: Session, *where: Any, cause: DoubtCause) -> int:
    """Put groups in doubt, all of them without a condition, and return how many; their next run writes them in full.

    A delivery to one of them that is under way does not lift this doubt, however it ends.
    """
    put = update(Group).where(*where).values(in_doubt=True, doubt_cause=cause, doubts=Group.doubts + 1)
    return session.exec(put).rowcount
