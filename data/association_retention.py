"""Associations that are no longer kept, and the objects in the storage that have the files of those that are."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlmodel import col, delete, select

from data.engine import read_session, write_session
from data.models import Association, AssociationBatch

# Where in the storage the objects lie.
FOLDER = "associations"


def object_of(bundle: str) -> str:
    """Return what the object is called that has the files of an association."""
    return f"{FOLDER}/{bundle}.tar"


def forget(engine: Engine, association_id: int) -> None:
    """Remove an association with its batches."""
    with write_session(engine) as session:
        session.exec(delete(AssociationBatch).where(col(AssociationBatch.association_id) == association_id))
        session.exec(delete(Association).where(col(Association.id) == association_id))


def list_bundles(engine: Engine) -> dict[int, str]:
    """Return the objects that have files of associations, by association; none where the storage is a folder."""
    with read_session(engine) as session:
        rows = session.exec(select(Association.id, Association.bundle).where(col(Association.bundle) != "")).all()
    return {number: bundle for number, bundle in rows if number is not None}
