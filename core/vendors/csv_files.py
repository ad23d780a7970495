"""Groups as the `user_id` CSV that Apptimize's Groups page takes."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from threading import Event

from core.errors import StorageFailed
from core.files import NoFile, OpenFolder
from core.threads import in_own_thread
from core.vendors.delivery import StoredMembers, Target
from data.models import MembershipChange

# The header of the column that Apptimize reads.
USER_ID = "user_id"
# Which part of it Apptimize documents, and what else is known: docs/decisions/014-apptimize-sdk.md.
TAKES_EFFECT = (
    "An id of the file takes effect only in an app that passes exactly that id, `i_` or `a_` included, to Apptimize's "
    "`setPilotTargetingId`. (Apptimize documents this call; that the prefix counts is inferred from its SDK, and not "
    "documented.)"
)


@dataclass
class CsvDelivery:
    """Writes the group as a file that Apptimize's Groups page takes."""

    folder: Path
    still_ours: Callable[[], Awaitable[None]]
    delivered_name: str | None = None  # the cohort's name at the last delivery: the file it made goes away
    messages: int = 0
    takes_differences: bool = False

    def is_in_place(self, target: Target) -> bool:
        """Return whether the group's file is there; what is in it is not looked at."""
        try:
            with OpenFolder(self.folder) as folder:
                return folder.has_file(csv_name(target.group_name, target.cohort_id))
        except OSError:
            return False  # what is the matter with the folder is told when it is written to

    async def change(self, target: Target, change: MembershipChange, stored: StoredMembers, *, members: int) -> None:
        """Refuse: a file is always written whole."""
        raise AssertionError("a CSV takes no differences")

    async def overwrite(self, target: Target, stored: StoredMembers, *, members: int) -> None:
        """Replace the group's file; when the group has a new name, the file under the old one goes away."""
        await self.still_ours()
        name = csv_name(target.group_name, target.cohort_id)
        ids = (member.apptimize_id for chunk in stored.chunks() for member in chunk)
        old = csv_name(self.delivered_name, target.cohort_id) if self.delivered_name is not None else name
        given_up = Event()
        try:
            await in_own_thread(partial(save_csv, ids, self.folder / name, expected=members, given_up=given_up))
            if old != name:
                await in_own_thread(partial(_remove, self.folder / old, given_up))
        finally:
            given_up.set()


def save_csv(
    ids: Iterable[str], path: Path, *, expected: int, given_up: Event | None = None, header: str = USER_ID
) -> int:
    """Write the group's file and make its folder if need be. Raises StorageFailed with the folder's name."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_group_file(ids, path, expected=expected, given_up=given_up or Event(), header=header)
    except OSError as exc:
        if isinstance(exc, NoFile):
            advice = f"Nothing was written. Remove {path}, or choose another place."
        else:
            advice = f"Check that the folder {path.parent} exists, can be written and has space."
        reason = exc.strerror or exc
        raise StorageFailed(f"The CSV could not be written: {reason}.", advice=advice, code="csv_not_written") from exc


def _remove(path: Path, given_up: Event) -> None:
    """Remove the file that a group had under its former name."""
    try:
        with OpenFolder(path.parent) as folder:
            _require_wanted(given_up)
            folder.remove_file(path.name)
    except OSError as exc:
        raise StorageFailed(
            f"The group's file under its former name could not be removed: {exc.strerror or exc}.",
            advice=f"Remove {path}: the group is in the file of its present name.",
            code="csv_not_written",
        ) from exc


def _require_wanted(given_up: Event) -> None:
    """Stop a call that hung and woke up: somebody else may have written since. Raises StorageFailed."""
    if given_up.is_set():
        raise StorageFailed("The folder did not answer in time.")


def write_group_file(
    member_ids: Iterable[str], target: Path, *, expected: int | None = None, given_up: Event, header: str = USER_ID
) -> int:
    """Write the members as the CSV that Apptimize's Groups page takes: all of them, or no file at all.

    One `user_id` column, UTF-8, ids byte for byte in the order they arrive. `target` changes only once the file is
    complete and on disk; when `expected` members do not come, StorageFailed is raised and it does not. Returns the
    number of ids. Format: apptimize.com/docs/additional-features/groups, read 2026-11-23.
    """
    count = -1  # the header
    with OpenFolder(target.parent) as folder:
        _require_wanted(given_up)
        # One that hung, and was given up, may wake up and finish: without its file it cannot replace what is newer.
        folder.remove_parts(target.name)
        with folder.replacing(target.name) as file:
            for line in csv_lines(member_ids, header):
                file.write(line.encode())
                count += 1
            if expected is not None and count != expected:
                raise StorageFailed("The members that were kept are not the members that were counted.")
            _require_wanted(given_up)
    return count


def csv_lines(member_ids: Iterable[str], header: str = USER_ID) -> Iterator[str]:
    """Yield the lines of the `user_id` CSV, header first; an id is quoted only where CSV needs it, never changed.

    Ids that are not Apptimize's have another `header`, which its Groups page does not take.
    """
    lines: list[str] = []

    class _Sink:
        def write(self, line: str) -> int:
            lines.append(line)
            return len(line)

    rows = csv.writer(_Sink(), lineterminator="\n")
    for member_id in chain([header], member_ids):
        rows.writerow([member_id])
        yield lines.pop()


def csv_name(group_name: str, cohort_id: int) -> str:
    """Name the group's file after its name and cohort: letters of any script stay, what a file system minds goes."""
    text = unicodedata.normalize("NFC", group_name)
    text = re.sub(r"[^\w.-]+", "-", text).strip("-.")
    # 255 bytes is what most file systems allow; the cohort id distinguishes names that are cut.
    text = text.encode()[:120].decode(errors="ignore")
    return f"{text or 'cohort'}-{cohort_id}.csv"
