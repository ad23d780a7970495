"""Object storage that speaks S3.

Every request has an end, and so has every trying again: a few seconds where a person waits, a minute in the background.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from data.members.files import replacing
from data.storage.address import S3Address, check_name
from data.storage.port import (
    MOST_SMALL,
    ObjectDamaged,
    ObjectGone,
    SmallObject,
    StorageUnavailable,
    Stored,
    already_there,
    digest_of,
    gone,
    is_hurried,
    version_moved,
)
from data.storage.s3_calls import Failed, Missing, Part, S3Calls, Taken
from data.storage.s3_errors import code_of, is_lasting, odd_name, say, status_of

T = TypeVar("T")

# A file is put in one request up to so many bytes, in parts of that size where it has more; and got in such parts.
PART = 32 * 2**20
# The digest of what was put is kept with it, so that what is got can be compared.
_DIGEST = "sha256"


@dataclass(frozen=True)
class Patience:
    """How long a request may take, one that carries a part of a file, and trying again altogether; in seconds."""

    request_s: float
    part_s: float
    overall_s: float


PERSON_WAITS = Patience(request_s=5, part_s=30, overall_s=8)
IN_BACKGROUND = Patience(request_s=20, part_s=120, overall_s=60)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0


class S3Storage:
    """A bucket, or what lies in one under a prefix."""

    def __init__(
        self, address: S3Address, *, patience: Patience = PERSON_WAITS, background: Patience = IN_BACKGROUND
    ) -> None:
        self._calls = S3Calls(address)
        self._of_person = patience
        self._background = background
        self._is_patient = False

    @property
    def address(self) -> str:
        """The bucket with its prefix."""
        return str(self._calls.address)

    @property
    def folder(self) -> Path | None:
        """None: everything has to be fetched."""
        return None

    def be_patient(self, is_patient: bool = True) -> None:
        """Try again for as long as work in the background may wait, or for as long as a person would."""
        self._is_patient = is_patient

    @property
    def _patience(self) -> Patience:
        return self._background if self._is_patient and not is_hurried() else self._of_person

    def check(self) -> None:
        """Look whether the bucket is there, answers, and lets itself be listed."""
        self._trying(self._look_at_list, "")

    def _look_at_list(self) -> None:
        try:
            next(self._list("", chunk=1, tries=0), None)
        except Failed as exc:
            if not odd_name(str(exc)):  # there is a list; what somebody else's object is called is no matter here
                raise

    def put_file(self, file: Path, name: str) -> Stored:
        """Put a file whole under a name that is free, with its digest."""
        size, digest = file.stat().st_size, digest_of(file)
        put = self._put_in_parts if size > PART else self._put_at_once
        put(file, check_name(name), digest)
        known = self.look(name)
        if known is None or known.size != size:
            raise StorageUnavailable(
                "The object storage took a file, and does not hold it.",
                advice="See whether something else removes files there. What failed can be started again.",
            )
        return known

    def _put_at_once(self, file: Path, name: str, digest: str) -> None:
        attributes, within_s = {_DIGEST: digest}, self._patience.part_s
        with _mapped(file) as content:
            self._until_settled(
                lambda: self._calls.put(name, content, within_s=within_s, attributes=attributes),
                lambda: self._holds(name, digest),
                taken=lambda: already_there(name),
            )

    def _put_in_parts(self, file: Path, name: str, digest: str) -> None:
        """Put a large file: its name is looked at before, as parts cannot be put on a condition."""

        def put() -> None:
            if self.look(name) is not None:
                raise Taken
            within_s, attributes = self._patience.part_s, {_DIGEST: digest}
            self._calls.put_in_parts(name, file, size=PART, within_s=within_s, attributes=attributes)

        self._until_settled(put, lambda: self._holds(name, digest), taken=lambda: already_there(name))

    def get_file(self, name: str, target: Path) -> Stored:
        """Get a file whole, and compare it with what was put: once more where what came is something else."""
        try:
            return self._trying(lambda: self._get_file(name, target), name)
        except ObjectDamaged:
            return self._trying(lambda: self._get_file(name, target), name)

    def _get_file(self, name: str, target: Path) -> Stored:
        first = self._first_part(check_name(name))
        known, digest, found = first.known, first.attributes.get(_DIGEST), hashlib.sha256()
        if digest is None:  # what cannot be compared is not believed
            raise ObjectDamaged(
                f"The object storage holds {name} without the digest that Cohort Bridge puts with each file: something "
                "else put or copied it there.",
                advice="Copy it there again with its metadata, or export the cohort again.",
            )
        with replacing(target) as part, part.open("wb") as file:
            file.write(first.content)
            found.update(first.content)
            for start in range(PART, known.size, PART):
                end, within_s = min(start + PART, known.size), self._patience.part_s
                more = self._calls.get(name, within_s=within_s, start=start, end=end, tag=known.tag).content
                file.write(more)
                found.update(more)
            file.flush()
            if file.tell() != known.size:
                raise Failed("broken off")
            if digest != found.hexdigest():
                raise ObjectDamaged(
                    f"What the object storage holds as {name} is not what was put there.",
                    advice="Export the cohort again: that keeps its members under another name.",
                )
        return known

    def _first_part(self, name: str) -> Part:
        try:
            return self._calls.get(name, within_s=self._patience.part_s, end=PART)
        except Failed as exc:
            if status_of(str(exc)) != 416:
                raise
            return self._calls.get(name, within_s=self._patience.part_s)  # it has no byte, and so no part

    def look(self, name: str) -> Stored | None:
        """Ask for what is known of an object."""
        try:
            return self._trying(lambda: self._calls.head(check_name(name), within_s=self._patience.request_s), name)
        except ObjectGone:
            return None

    def read(self, name: str) -> SmallObject:
        """Read a small object."""

        def get() -> SmallObject:
            part = self._calls.get(check_name(name), within_s=self._patience.request_s)
            if part.known.size > MOST_SMALL:
                raise ObjectDamaged(f"What the object storage holds as {name} is too large for that.")
            return SmallObject(bytes(part.content), part.known.tag)

        return self._trying(get, name)

    def put(self, name: str, content: bytes) -> str:
        """Put a small object under a name that is free."""
        return self._set(check_name(name), content, taken=lambda: already_there(name))

    def replace(self, name: str, content: bytes, version: str) -> str:
        """Put a small object in the place of the one that was read with that version."""
        return self._set(check_name(name), content, version=version, taken=lambda: version_moved(name))

    def _set(self, name: str, content: bytes, *, version: str = "", taken: Callable[[], Exception]) -> str:
        """Put a small object, and find out what became of it where that was not confirmed."""
        versions = list[str]()

        def put() -> None:
            within_s = self._patience.request_s
            try:
                versions.append(self._calls.put(name, content, within_s=within_s, attributes={}, tag=version))
            except Missing as exc:
                if not version or code_of(str(exc)) == "NoSuchBucket":
                    raise
                raise Taken from None  # what was to be replaced is gone

        def settle() -> bool:
            with suppress(ObjectGone):
                there = self.read(name)
                if there.content == content:
                    versions.append(there.version)
                    return True
            return False

        self._until_settled(put, settle, taken=taken)
        return versions[-1]

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        with suppress(ObjectGone):
            self._trying(lambda: self._calls.delete(check_name(name), within_s=self._patience.request_s), name)

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """Yield what lies there under names that begin so.

        Where somebody else's object has a name that the library refuses, what lies in folders below is left out.
        """
        folder, seen = prefix.rpartition("/")[0], set[str]()
        try:
            for known in self._list_whatever(folder):
                if known.name.startswith(prefix) and known.name not in seen:
                    seen.add(known.name)
                    yield known
        except (Failed, Missing) as exc:
            raise self._say(exc) from None

    def _list_whatever(self, folder: str) -> Iterator[Stored]:
        try:
            yield from self._list(folder)
        except Failed as exc:
            if not odd_name(str(exc)):
                raise
            yield from self._calls.list_here(folder, within_s=self._patience.request_s, tries=5)

    def _list(self, prefix: str, *, chunk: int = 1000, tries: int = 5) -> Iterator[Stored]:
        return self._calls.list(prefix, within_s=self._patience.request_s, chunk=chunk, tries=tries)

    def _holds(self, name: str, digest: str) -> bool:
        """Return whether an object is there with that content, by its digest."""
        with suppress(ObjectGone):
            return self._trying(lambda: self._first_part(name), name).attributes.get(_DIGEST) == digest
        return False

    def _until_settled(
        self, put: Callable[[], object], settle: Callable[[], bool], *, taken: Callable[[], Exception]
    ) -> None:
        """Put something once, also where an answer is lost: what lies there then tells whether it was put."""
        for pause_s in self._pauses():
            try:
                put()
                return
            except Taken:
                if settle():
                    return
                raise taken() from None
            except (Failed, Missing) as exc:
                if isinstance(exc, Missing) or is_lasting(str(exc)):
                    raise self._say(exc) from None
                failed = exc
            if settle():
                return
            if pause_s is None:
                raise self._say(failed) from None
            time.sleep(pause_s)

    def _trying(self, ask: Callable[[], T], name: str) -> T:
        """Ask until there is an answer, a refusal, or no time left."""
        for pause_s in self._pauses():
            try:
                return ask()
            except Missing as exc:
                if code_of(str(exc)) == "NoSuchBucket":
                    raise self._say(exc) from None
                raise gone(name) from None
            except Taken:
                raise gone(name) from None  # another one is there than a moment ago
            except Failed as exc:
                if is_lasting(str(exc)) or code_of(str(exc)) == "NoSuchBucket" or pause_s is None:
                    raise self._say(exc) from None
                time.sleep(pause_s)
        raise AssertionError("the last pause is None")

    def _pauses(self) -> Iterator[float | None]:
        """Yield how long to wait after each try that failed; None where it was the last."""
        began_s, pause_s = time.monotonic(), _FIRST_PAUSE_S
        while time.monotonic() + pause_s < began_s + self._patience.overall_s:
            yield pause_s
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        yield None

    def _say(self, exc: Exception) -> StorageUnavailable:
        return say(str(exc), bucket=self._calls.address.bucket, address=self.address)


@contextmanager
def _mapped(file: Path) -> Generator[Any]:
    """Give the content of a file without reading it into memory of our own."""
    with file.open("rb") as opened:
        if not os.fstat(opened.fileno()).st_size:
            yield b""
            return
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content
