"""How sign-in is set up (in `.streamlit/secrets.toml`, section [auth], nowhere else), and what must hold without it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import streamlit as st
from streamlit.auth_util import validate_auth_credentials
from streamlit.errors import Error as StreamlitError
from streamlit.runtime.secrets import secrets_singleton
from streamlit.url_util import make_url_path

from core.errors import SettingsError
from core.files import NoFile, open_file
from core.hosts import is_loopback_host
from core.vendors import addresses

ROOT = Path(__file__).parents[2]
# Anyone who can guess it can make a cookie that says they are another person.
_COOKIE_SECRET_LENGTH = 32
_DOCS = "docs/sign-in says what goes into it."
# A request that carries one of these came through a proxy, and so from an unknown place.
_FORWARDED = (
    "forwarded", "x-forwarded", "x-real-ip", "via", "x-client-ip", "x-cluster-client-ip", "true-client-ip",
    "client-ip", "cf-", "fastly-client-ip", "x-original-", "x-envoy-", "x-proxyuser-ip", "x-azure-", "x-arr-",
    "x-amzn-", "tailscale-",
)  # fmt: skip


def is_set_up() -> bool:
    """Return whether people have to sign in. Raises SettingsError when it is set up wrongly."""
    files = [Path(name) for name in st.get_option("secrets.files")]
    present = [path for path in files if os.path.lexists(path)]
    if not present:
        return False
    for path in present:
        _require_toml(path)
    if not secrets_singleton.load_if_toml_exists():
        raise _wrong(f"{present[0]} cannot be read: it is not TOML.")
    section = secrets_singleton.get("auth")
    if not isinstance(section, Mapping) or not section:
        raise _wrong(f"{present[0]} has no section [auth], so no one could sign in.")
    _check(section)
    return True


def _require_toml(path: Path) -> None:
    """Refuse a file that Streamlit would wait for, fail on, or take for one that is not there."""
    if path.is_dir() and path.suffix != ".toml":
        return  # one file for each secret
    try:
        with open_file(path) as file:
            tomllib.loads(file.read().decode())
    except NoFile as exc:
        raise _wrong(f"{path} cannot be read: it is {exc.kind}, and no file.") from None
    except OSError as exc:
        raise _wrong(f"{path} cannot be read ({exc.strerror}).") from None
    except UnicodeDecodeError:
        raise _wrong(f"{path} cannot be read: it is not text in UTF-8.") from None
    except tomllib.TOMLDecodeError:
        raise _wrong(f"{path} cannot be read: it is not TOML.") from None


def _check(section: Mapping[str, Any]) -> None:
    for name in providers(section):
        try:
            validate_auth_credentials(name)
        except StreamlitError as exc:
            raise _wrong(" ".join(str(exc).split())) from None
    if len(str(section["cookie_secret"])) < _COOKIE_SECRET_LENGTH:
        raise _wrong(f"cookie_secret in secrets.toml is shorter than {_COOKIE_SECRET_LENGTH} characters.")
    try:
        parts = urlsplit(str(section["redirect_uri"]))
        _ = parts.port
    except ValueError:
        raise _wrong("redirect_uri in secrets.toml is no address.") from None
    if parts.scheme != "https" and not addresses.is_loopback(str(section["redirect_uri"])):
        raise _wrong("redirect_uri in secrets.toml does not start with https://.")
    # Below a path the callback is too. Without one, a proxy may take a path away before it passes a request on.
    end = make_url_path(st.get_option("server.baseUrlPath") or "", "oauth2callback")
    if not parts.path.endswith(end):
        raise _wrong(f"redirect_uri in secrets.toml does not end with {end}.")


def providers(section: Mapping[str, Any] | None = None) -> list[str]:
    """List the providers to choose from; `default` is the one without its own section."""
    auth: Any = _section() if section is None else section
    named = [name for name, value in auth.items() if isinstance(value, Mapping) and name != "client_kwargs"]
    return (["default"] if "client_id" in auth or not named else []) + named


def redirect_host() -> str | None:
    """Return the name that the dashboard is reached under, as the provider knows it."""
    return urlsplit(str(_section().get("redirect_uri", ""))).hostname


def _section() -> Mapping[str, Any]:
    return secrets_singleton.get("auth", {}) if secrets_singleton.load_if_toml_exists() else {}


def require_loopback(listens_at: str | None) -> None:
    """Refuse, while sign-in is not set up, to listen where other machines reach. Raises SettingsError."""
    if listens_at is None or not is_loopback_host(listens_at):
        raise SettingsError(
            f"Sign-in is not set up, and the dashboard listens at {listens_at or 'every address'}, where other "
            "machines reach it.",
            advice="Set up sign-in (docs/sign-in), or start it with --server.address=127.0.0.1.",
            code="open_to_others",
        )


def require_local_visit() -> None:
    """Refuse, while sign-in is not set up, visits from other machines. Raises SettingsError."""
    require_loopback(st.get_option("server.address"))
    if not Path.cwd().samefile(ROOT) and (ROOT / ".streamlit" / "secrets.toml").exists():
        raise _wrong(f"Sign-in is set up in {ROOT}, and the dashboard was started in another folder.")
    headers, peer = st.context.headers, st.context.ip_address
    named = headers.get("Host") or "localhost"
    host = urlsplit(f"//{named}").hostname or ""
    # Streamlit takes visits from pages of any port of this machine, and of its outside address: they are other sites.
    origin = headers.get("Origin")
    is_foreign = origin is not None and urlsplit(origin).netloc != named
    if is_foreign or came_through_proxy(headers) or not is_loopback_host(host) or not _is_here(peer):
        raise SettingsError(
            "Sign-in is not set up, so only this machine itself may open the dashboard, and you come from elsewhere.",
            advice="Set up sign-in before you put it behind a proxy: see docs/sign-in.",
            code="open_to_others",
        )


def came_through_proxy(headers: Iterable[str]) -> bool:
    """Return whether a request has a header that proxies and tunnels add."""
    return any(name.lower().startswith(_FORWARDED) for name in headers)


def _is_here(peer: object) -> bool:
    """Return whether a peer is this machine; Streamlit names others only."""
    return not isinstance(peer, str) or is_loopback_host(peer)


def _wrong(text: str) -> SettingsError:
    return SettingsError(text, advice=_DOCS, code="sign_in_set_up")
