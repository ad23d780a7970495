"""What an address of the storage means: a folder, or a bucket of object storage. Nothing is opened by it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@=-]*(/[A-Za-z0-9][A-Za-z0-9._@=-]*)*")
_LONGEST = 200
# An address of a service has no name, password, query or blank in it.
_IN_ADDRESS = re.compile(r"[A-Za-z0-9:/._~\[\]-]+")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|::1)")


class StorageAddressUnusable(ValueError):
    """The address of the storage is none; the message says why, as the end of a sentence."""


@dataclass(frozen=True)
class S3Address:
    """Where the objects lie: a bucket, what their names begin with, and the service that keeps them."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    plain_http: bool = False
    region: str = "us-east-1"

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def check_name(name: str) -> str:
    """Return a name that every storage takes as it is. Raises ValueError, as no person chooses one."""
    if len(name) > _LONGEST or not _NAME.fullmatch(name) or ".." in name:
        raise ValueError(f"not a name in the storage: {name!r}")
    return name


def folder_of(url: str) -> Path | None:
    """Return the folder that an address names, by its whole path; None where it names object storage."""
    text = url.strip()
    if text.lower().startswith("file://"):
        text = _path_of(text)
    elif re.match(r"[a-z][a-z0-9+.-]*://", text, re.IGNORECASE):
        return None
    if not text.startswith(("/", "~", "./", "../")):  # or s3:/bucket would be a folder, another one for each process
        raise StorageAddressUnusable("a folder is named by its whole path, object storage as in s3://bucket/prefix")
    try:
        return Path(text).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):
        raise StorageAddressUnusable("there can be no such folder") from None


def _path_of(url: str) -> str:
    """Return the path that an address of a folder has. Raises StorageAddressUnusable."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None or parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
        raise StorageAddressUnusable("a folder's address is one such as file:///folder")
    return unquote(parts.path)


def check_address(url: str, environ: Mapping[str, str]) -> None:
    """Look at an address alone, and at that of its service. Raises StorageAddressUnusable."""
    if folder_of(url) is None:
        read_s3(url.strip(), environ, allow_plain_http=True)


def read_s3(url: str, environ: Mapping[str, str], *, allow_plain_http: bool) -> S3Address:
    """Return what an address of object storage means in an environment. Raises StorageAddressUnusable."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise StorageAddressUnusable("it is no address such as s3://bucket/prefix") from None
    if parts.scheme.lower() != "s3":
        raise StorageAddressUnusable("it is neither a folder nor an address such as s3://bucket/prefix")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise StorageAddressUnusable("it has more than a bucket and a prefix: credentials go into AWS_ variables")
    prefix = parts.path.strip("/")
    try:
        check_name(prefix or "x")
    except ValueError:
        raise StorageAddressUnusable("its prefix has other signs than letters, digits and . _ - @ = /") from None
    if not _BUCKET.fullmatch(parts.netloc):
        raise StorageAddressUnusable("a bucket's name has 3 to 63 small letters, digits, dots and hyphens")
    endpoint = _read_endpoint(environ)
    return S3Address(
        parts.netloc,
        prefix,
        endpoint,
        plain_http=allow_plain_http or _is_loopback(endpoint),
        region=environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1",
    )


def _read_endpoint(environ: Mapping[str, str]) -> str | None:
    """Return the address of the service, None for the one of AWS. Raises StorageAddressUnusable."""
    endpoint = (environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or "").strip()
    if not endpoint:
        return None
    try:
        parts = urlsplit(endpoint)
        is_address = parts.scheme.lower() in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or not _IN_ADDRESS.fullmatch(endpoint):
        raise StorageAddressUnusable("AWS_ENDPOINT_URL is no address such as https://storage.example:9000")
    return endpoint


def _is_loopback(endpoint: str | None) -> bool:
    """Return whether a service runs on this machine, by an address that was read."""
    return bool(endpoint and _LOOPBACK.fullmatch(urlsplit(endpoint).hostname or ""))
