"""The calls of obstore that are made, each one request, and their errors told apart; nothing else here imports it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from data.storage.address import S3Address
from data.storage.port import StorageUnavailable, Stored
from data.storage.s3_errors import PANIC

_CONNECT_S = 3
_LIBRARY_MISSING = "The library for object storage is not installed."
_INSTALL = "Install it: .venv/bin/python -m pip install -r requirements-postgres.txt"


class Missing(Exception):
    """There is nothing of that name, or no bucket: the message is the library's."""


class Taken(Exception):
    """The name is not free, or what is there is not what was expected."""


class Failed(Exception):
    """Anything else: the message is the library's, and not for people."""


class Part(NamedTuple):
    """A part of an object, with what is known of all of it."""

    known: Stored
    content: memoryview
    attributes: Mapping[str, str]


@dataclass
class S3Calls:
    """One bucket's calls. Raises Missing, Taken, Failed; StorageUnavailable where the library is missing."""

    address: S3Address
    _stores: dict[tuple[float, int], Any] = field(default_factory=dict[tuple[float, int], Any])

    def head(self, name: str, *, within_s: float) -> Stored:
        """Ask for what is known of an object."""
        with self._library(within_s) as (obstore, store):
            return _stored(name, obstore.head(store, name))

    def get(self, name: str, *, within_s: float, start: int = 0, end: int = 0, tag: str = "") -> Part:
        """Get an object, or the bytes of it up to `end`; with a `tag` only of the one that has it."""
        options: dict[str, Any] = ({"range": (start, end)} if end else {}) | ({"if_match": tag} if tag else {})
        with self._library(within_s) as (obstore, store):
            answer = obstore.get(store, name, options=options)
            return Part(_stored(name, answer.meta), memoryview(answer.bytes()), answer.attributes)

    def put(self, name: str, content: Any, *, within_s: float, attributes: Mapping[str, str], tag: str = "") -> str:
        """Put an object where there is none, or with a `tag` in the place of the one that has it; return its tag."""
        mode: Any = {"e_tag": tag} if tag else "create"
        with self._library(within_s) as (obstore, store):
            result = obstore.put(store, name, content, mode=mode, use_multipart=False, attributes=dict(attributes))
        return result["e_tag"] or ""

    def put_in_parts(self, name: str, file: Path, *, size: int, within_s: float, attributes: Mapping[str, str]) -> None:
        """Put a large file in parts of that size, several requests; it is there once all of them are."""
        with self._library(within_s) as (obstore, store):
            obstore.put(
                store, name, file, attributes=dict(attributes), use_multipart=True, chunk_size=size, max_concurrency=3
            )

    def delete(self, name: str, *, within_s: float) -> None:
        """Delete an object."""
        with self._library(within_s) as (obstore, store):
            obstore.delete(store, name)

    def list(self, prefix: str, *, within_s: float, chunk: int, tries: int) -> Iterator[Stored]:
        """Yield what lies below a prefix, a request for so many."""
        with self._library(within_s, tries) as (obstore, store):
            pages = obstore.list(store, prefix=prefix or None, chunk_size=chunk)
        while True:
            with self._library(within_s, tries):
                page = next(pages, None)
            if page is None:
                return
            yield from (_stored(each["path"], each) for each in page)

    def list_here(self, prefix: str, *, within_s: float, tries: int) -> Iterator[Stored]:
        """Yield what lies right below a prefix; what lies deeper is not looked at, whatever it is called."""
        with self._library(within_s, tries) as (obstore, store):
            found = obstore.list_with_delimiter(store, prefix=prefix or None)
        yield from (_stored(each["path"], each) for each in found["objects"])

    @contextmanager
    def _library(self, within_s: float, tries: int = 0) -> Generator[tuple[Any, Any]]:
        """Give the library and its access to the bucket, and tell its errors apart."""
        try:
            import obstore
            from obstore import exceptions
        except ImportError:
            raise StorageUnavailable(_LIBRARY_MISSING, advice=_INSTALL) from None
        try:
            yield obstore, self._store(within_s, tries)
        except FileNotFoundError as exc:
            raise Missing(str(exc)) from None
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError, FileExistsError):
            raise Taken from None
        except (exceptions.BaseError, OSError, ValueError) as exc:
            raise Failed(str(exc)) from None
        except BaseException as exc:
            if type(exc).__name__ != "PanicException":  # the library has no other name for it, and it is no Exception
                raise
            raise Failed(PANIC) from None

    def _store(self, within_s: float, tries: int) -> Any:
        key = (within_s, tries)
        if key not in self._stores:
            self._stores[key] = self._open(within_s, tries)
        return self._stores[key]

    def _open(self, within_s: float, tries: int) -> Any:
        from obstore.store import S3Store

        address = self.address
        config: Any = {"region": address.region, "checksum_algorithm": "SHA256", "conditional_put": "etag"}
        if address.endpoint:
            config["endpoint"] = address.endpoint
        return S3Store(
            address.bucket,
            prefix=address.prefix or None,
            config=config,
            client_options={
                "allow_http": address.plain_http,
                "connect_timeout": timedelta(seconds=_CONNECT_S),
                "timeout": timedelta(seconds=within_s),
            },
            # Trying again is done here, where it is known what may be asked twice; a listing does it by itself.
            retry_config={"max_retries": tries, "retry_timeout": timedelta(seconds=4 * within_s)},
        )


def _stored(name: str, meta: Any) -> Stored:
    return Stored(name, meta["size"], meta["e_tag"] or "", meta["last_modified"].timestamp())
