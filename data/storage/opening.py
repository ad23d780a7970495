"""Opening the storage that a setting names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from data.storage.address import folder_of, read_s3
from data.storage.folder import FolderStorage
from data.storage.port import Storage
from data.storage.s3 import S3Storage


def open_storage(
    url: str, *, default: Path, allow_plain_http: bool = False, environ: Mapping[str, str] = os.environ
) -> Storage:
    """Open the storage that an address names, or a default folder where there is none; nothing is asked of it yet.

    Raises: StorageAddressUnusable.
    """
    if not url.strip():
        return FolderStorage(default)
    if (folder := folder_of(url)) is not None:
        return FolderStorage(folder)
    return S3Storage(read_s3(url.strip(), environ, allow_plain_http=allow_plain_http))
