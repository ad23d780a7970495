"""What deliveries to receivers that only add began with: kept until one is accepted whole, for all may be there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlmodel import Session, col, delete, select

from data import proofs
from data.members.proof import Proof
from data.proof_models import TriedDelivery


class Tried(NamedTuple):
    """A snapshot that a delivery begins with, and its proof.

    It takes the place of those that are named: it holds everybody who is in them.
    """

    snapshot: str
    proof: Proof
    in_place_of: Sequence[str] = ()


def note(session: Session, group_id: int, run_id: int, tried: Tried) -> None:
    """Note what a delivery is about to begin with, and its proof; what it takes the place of is named no more."""
    of_group = col(TriedDelivery.group_id) == group_id
    session.exec(delete(TriedDelivery).where(of_group, col(TriedDelivery.snapshot).in_(list(tried.in_place_of))))
    if session.get(TriedDelivery, (group_id, tried.snapshot)) is None:
        session.add(TriedDelivery(group_id=group_id, snapshot=tried.snapshot, run_id=run_id))
        proofs.keep(session, tried.snapshot, tried.proof)


def list_tried(session: Session, group_id: int | None) -> list[TriedDelivery]:
    """List what deliveries to a group began with since one was accepted whole."""
    query = select(TriedDelivery).where(TriedDelivery.group_id == group_id).order_by(col(TriedDelivery.snapshot))
    return list(session.exec(query).all())


def forget(session: Session, group_id: int) -> None:
    """Forget what was tried: a delivery was accepted whole."""
    session.exec(delete(TriedDelivery).where(col(TriedDelivery.group_id) == group_id))
