"""Which certificates are trusted: the usual ones, or those that SSL_CERT_FILE or SSL_CERT_DIR names."""

from __future__ import annotations

import os
import re
import ssl
import stat
from functools import cache
from pathlib import Path

import httpx

from core.errors import SettingsError

# What OpenSSL looks certificates up by in a folder; it passes over files of any other name.
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")


@cache
def load_trusted() -> ssl.SSLContext:
    """Load the certificates that are trusted once: that takes longer than a small delivery. Raises SettingsError."""
    check_named()
    try:
        return httpx.create_ssl_context()
    except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
        named = "SSL_CERT_FILE" if os.environ.get("SSL_CERT_FILE") else "SSL_CERT_DIR"
        raise _unusable(named, "no certificate can be read there") from exc


def check_named() -> None:
    """Check, without reading them, that what the environment names can be certificates. Raises SettingsError."""
    _check_key_log()
    file, folders = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file and not Path(file).is_file():  # a pipe would be waited for
        raise _unusable("SSL_CERT_FILE", "it names no file that this program may read")
    if not file and folders and not any(_has_certificates(folder) for folder in folders.split(os.pathsep)):
        raise _unusable(
            "SSL_CERT_DIR", "it names no folder with certificates under the names that `openssl rehash` makes"
        )


def _has_certificates(folder: str) -> bool:
    try:
        return any(_HASHED.fullmatch(name) for name in os.listdir(folder or "."))
    except OSError:
        return False


def _check_key_log() -> None:
    """Refuse a file for the keys of connections that cannot be written: TLS itself fails on it, or waits for a pipe."""
    if not (name := os.environ.get("SSLKEYLOGFILE")):
        return
    try:
        handle = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY, 0o600)
        is_file = stat.S_ISREG(os.fstat(handle).st_mode)
        os.close(handle)
    except OSError:
        is_file = False
    if not is_file:
        why = "it names no file that this program may write"
        raise _unusable("SSLKEYLOGFILE", why, "Name another file in it, or unset it.")


def _unusable(
    variable: str, why: str, advice: str = "Name a PEM file that this program may read in SSL_CERT_FILE, or unset it."
) -> SettingsError:
    return SettingsError(f"{variable} cannot be used: {why}.", advice=advice, code="bad_setting")
