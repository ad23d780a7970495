"""A process proves that it belongs: that its secret key and its storage are those of the database that it opened.

One that has another key could read no secret and would pause every sync; one that keeps members elsewhere would write
every group in full. Neither starts.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from core.errors import NewerVersion, OfAnotherInstallation, SecretKeyLost
from core.settings import Settings
from data import installation, run_retention, sealed
from data.engine import Engine, StorageError, is_up_to_date, sqlite_file
from data.installation import Own
from data.members.store import is_ours
from data.storage.port import Storage

if TYPE_CHECKING:
    from core.bridge import Bridge

log = logging.getLogger(__name__)

_TRIES = 5


def require_key_file(settings: Settings, opened: Engine) -> None:
    """Look whether there is a key, where one is needed that is known already: none is made in its place.

    Raises: OfAnotherInstallation, StorageError.
    """
    if settings.secret_key or (settings.home / "secret.key").exists() or _is_alone(settings):
        return
    own = installation.find(opened)
    if own and own.keys and sealed.list_sealed(opened):
        raise _another_key()


def require_own(bridge: Bridge) -> None:
    """Compare this process's keys and storage with those of its database, which learns them of its first process.

    Raises: OfAnotherInstallation, StorageError.
    """
    for attempt in range(_TRIES):  # another process may bind it, or change the key, at the same moment
        before = installation.find(bridge.engine)
        try:
            own = _find_own(bridge, before, is_sure=attempt > 0)
        except OfAnotherInstallation:
            if attempt and before == installation.find(bridge.engine):
                raise
            continue
        if own == before or installation.bind(bridge.engine, before, own):
            return
    raise _is_being_changed()


def _find_own(bridge: Bridge, before: Own | None, *, is_sure: bool) -> Own:
    """Return what is the database's own from now on. Raises OfAnotherInstallation."""
    own = before or Own()
    own = own._replace(keys=_own_keys(bridge, own, is_restored=before == Own(), is_sure=is_sure))
    return _with_storage(bridge, own)


def require_still_own(bridge: Bridge) -> None:
    """Look again, as a process that goes on for long does: a key may have been changed, or a newer version come.

    Raises: OfAnotherInstallation, NewerVersion, StorageError.
    """
    if not is_up_to_date(bridge.engine):
        raise NewerVersion("The database was brought up to date by a newer version of Cohort Bridge meanwhile.")
    own = installation.find(bridge.engine) or Own()
    if not set(own.keys) <= set(bridge.vault.list_checks()):
        require_own(bridge)


def require_still_own_storage(bridge: Bridge) -> None:
    """Look again whether the storage is the database's own, which may not have answered at the start.

    Raises: OfAnotherInstallation, StorageError.
    """
    if not has_own_storage(bridge):
        require_own(bridge)


def adopt(bridge: Bridge, *, key: bool, storage: bool) -> None:
    """Let this process's keys, or its storage, be the database's own from now on. Raises StorageError."""
    for _ in range(_TRIES):  # another process may change the key at the same moment
        before = installation.find(bridge.engine)
        own = before or Own()
        if key:
            own = own._replace(keys=tuple(bridge.vault.list_checks()))
        if storage:
            own = own.kept_in(bridge.storage, installation.name_storage(bridge.storage))
        if installation.bind(bridge.engine, before, own):
            return
    raise _is_being_changed()


def _is_being_changed() -> StorageError:
    return StorageError(
        "Another process changes the keys or the storage of this installation at this moment.",
        advice="Try again when it has ended.",
    )


# --- keys ----------------------------------------------------------------------------------------------------------


def _own_keys(bridge: Bridge, own: Own, *, is_restored: bool, is_sure: bool) -> tuple[str, ...]:
    """Return the keys that are the database's own from now on. Raises OfAnotherInstallation."""
    ours = bridge.vault.list_checks()
    if own.keys and set(own.keys) <= set(ours):
        # What stands before them are newer keys, which seal from now on: other processes need them too.
        newer = ours[: min(ours.index(key) for key in own.keys)]
        return (*newer, *own.keys)
    texts = [text for kept in sealed.list_sealed(bridge.engine) for text in kept.texts]
    if not texts:
        return tuple(ours)  # there is nothing yet that another key could not open
    if not own.keys:  # a home of an earlier version may have lost its key long ago
        return tuple(ours) if is_restored or any(_opens(bridge, text) for text in texts) else ()
    if is_sure and bridge.vault.path and _is_alone(bridge.settings):
        log.info("the key in secret.key is not the one that the stored secrets were sealed with")
        return tuple(ours)
    raise _another_key()


def _another_key() -> OfAnotherInstallation:
    return OfAnotherInstallation(
        "The stored secrets cannot be read with the available secret keys: this installation has another key.",
        advice="Copy the file secret.key from the home of a process that works, or set COHORT_BRIDGE_SECRET_KEY to the "
        "keys that it has; if they are lost for good, run `python -m core installation adopt --key`, then enter the "
        "connections again.",
    )


def _opens(bridge: Bridge, text: str) -> bool:
    try:
        bridge.vault.decrypt(text)
    except SecretKeyLost:
        return False
    return True


def _is_alone(settings: Settings) -> bool:
    """Return whether the database lies in this very home: no other can be meant by what is there or is not."""
    file = sqlite_file(settings.database_url)
    return file is not None and file.resolve().parent == settings.home


# --- the storage ---------------------------------------------------------------------------------------------------


def _with_storage(bridge: Bridge, own: Own) -> Own:
    """Return what is the database's own, with the storage. Raises OfAnotherInstallation."""
    storage = bridge.storage
    try:
        present = installation.read_storage_id(storage)
        if own.storage_id and present == own.storage_id:
            return own
        is_taken = own.storage_id is None or (_is_alone(bridge.settings) and _is_free_to_move(bridge, present))
        if is_taken and not (present and _is_of_others(bridge)):
            return own.kept_in(storage, present or installation.name_storage(storage, own.storage_id))
    except StorageError as exc:
        # That it does not answer says nothing of whose it is, and nothing can be read or written there meanwhile.
        bridge.storage_watch.note(exc, now_s=bridge.clock.steady_s())
        return own
    raise _another_storage(own, present, storage)


def _another_storage(own: Own, present: str | None, storage: Storage) -> OfAnotherInstallation:
    address = storage.address
    lost = "if what is kept there is lost for good, run `python -m core installation adopt --storage`."
    if own.storage_id is None:
        return OfAnotherInstallation(
            f"Another installation keeps members in {address}: this database names none of what is there.",
            advice="Set COHORT_BRIDGE_STORAGE_URL to a folder or prefix of its own; if the other installation is gone, "
            "run `python -m core installation adopt --storage`: what it kept there is removed after a day.",
        )
    if present is None and own.is_called_as(storage):
        return OfAnotherInstallation(
            f"The storage {address} does not say any more whose it is: it was emptied, or is another one of that name.",
            advice=f"Put back what was there, with {installation.NAME}; {lost}",
        )
    return OfAnotherInstallation(
        f"This process keeps members in {address}, and this installation keeps them elsewhere ({own.storage_address}).",
        advice="Set COHORT_BRIDGE_STORAGE_URL to the storage that its other processes use: a folder or a bucket that "
        f"all of them share; {lost}",
    )


def _is_of_others(bridge: Bridge) -> bool:
    """Return whether a storage that has an id holds members, and none that this database names. Raises StorageError.

    Otherwise each of the two would remove what only the other one names. A home's own folder is its own.
    """
    if not bridge.settings.storage_url:
        return False
    there = {name for name, _ in bridge.snapshots.place.list() if is_ours(name)}
    return bool(there) and not there & run_retention.named_files(bridge.engine)


def has_own_storage(bridge: Bridge) -> bool:
    """Return whether the storage is the database's own, as it may not have told at the start. Raises StorageError."""
    own = installation.find(bridge.engine)
    return own is not None and own.storage_id == installation.read_storage_id(bridge.storage)


def _is_free_to_move(bridge: Bridge, present: str | None) -> bool:
    """Return whether a home that is alone may take a storage: nothing is kept, or its own folder was emptied."""
    is_default = not bridge.settings.storage_url
    return (is_default and present is None) or not run_retention.named_files(bridge.engine)
