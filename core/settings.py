"""What can be configured: environment or `.env`, read once in each entry point and passed down."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import SettingsError
from core.files import NoFile, open_file
from core.hosts import is_loopback_host, split_address
from core.text import whole_of
from data.storage.address import StorageAddressUnusable, check_address, folder_of

_FILE = ".env"
# The size of the pages that Mixpanel is asked for: a number within these bounds, or this word for never asking.
LEAST_PAGE, MOST_PAGE, VENDOR = 100, 50_000, "vendor"
# In place of an address: health and metrics are not served.
OFF = "off"
_LEAST_TOKEN = 16
_MOST_BYTES = 2**20
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
# What is wrong with a value, by the library's name of it.
_WORDS = {
    "bool_parsing": "it is neither 1 nor 0",
    "float_parsing": "it is no number",
    "int_from_float": "it is no whole number",
    "int_parsing": "it is no whole number",
    "int_parsing_size": "it is a number that is too large",
    "literal_error": "it is not {expected}",
    "greater_than": "it is not more than {gt:,.10g}",
    "greater_than_equal": "it is less than {ge:,}",
    "less_than_equal": "it is more than {le:,.10g}",
}
_ADDRESS, _DOMAIN = re.compile(r"[^@\s]+@[^@\s;]+"), re.compile(r"[^@\s/:;]+")


class Settings(BaseSettings):
    """All settings, frozen. `.env.example` lists every one with its meaning."""

    model_config = SettingsConfigDict(
        env_prefix="COHORT_BRIDGE_", env_file=_FILE, env_file_encoding="utf-8-sig", extra="ignore", frozen=True
    )

    home: Path = Path("var")
    database_url: str = ""
    storage_url: str = ""
    secret_key: SecretStr | None = None
    mixpanel_url: str | None = None
    mixpanel_secret: SecretStr | None = None
    mixpanel_project_token: SecretStr | None = None
    apptimize_token: SecretStr | None = None
    receiver_url: SecretStr | None = None
    allow_private_hosts: bool = False
    admins: str = ""
    allowed_domains: str = ""
    first_sign_in: Literal["viewer", "refused"] = "refused"
    sign_in_hours: float = Field(default=12.0, gt=0, le=30 * 24)
    sign_in_idle_minutes: float = Field(default=120.0, gt=0, le=30 * 24 * 60)
    messages_in_flight: int = Field(default=4, ge=1, le=16)
    runs_in_flight: int = Field(default=4, ge=1, le=32)
    dispatch: Literal["embedded", "procrastinate"] | None = None
    page_size: int | Literal["vendor"] | None = None
    retry_over_s: float = Field(default=60.0, gt=0, le=600)
    cache_mb: int = Field(default=2048, ge=64, le=2**24)
    snapshot_memory_mb: int = Field(default=80, ge=40, le=2**20)
    log_level: str = "INFO"
    metrics_address: str = "127.0.0.1:8502"
    metrics_token: SecretStr | None = Field(default=None, validate_default=True)
    metrics_names: bool = False
    dashboard_url: str | None = None
    ping_url: SecretStr | None = None

    @field_validator("*", mode="before")
    @classmethod
    def take_empty_for_unset(cls, value: Any, info: ValidationInfo) -> Any:
        """Take what is empty, or blank, for what is not set."""
        is_blank = isinstance(value, str) and not value.strip()
        return cls.model_fields[info.field_name or ""].default if is_blank else value

    @field_validator("home")
    @classmethod
    def find_home(cls, home: Path) -> Path:
        """Return the folder by its whole path."""
        try:
            os.fspath(home).encode()
            return home.expanduser().resolve()
        except UnicodeError:
            raise ValueError("the name of the folder is not UTF-8") from None
        except (OSError, RuntimeError):  # no such person, links in a circle, a folder that was removed
            raise ValueError("there can be no such folder") from None

    @field_validator("storage_url")
    @classmethod
    def check_storage_url(cls, url: str) -> str:
        """Refuse what is neither a folder nor the address of object storage."""
        if url.strip():
            try:
                check_address(url, os.environ)
            except StorageAddressUnusable as exc:
                raise ValueError(str(exc)) from None
        return url.strip()

    @field_validator("mixpanel_url")
    @classmethod
    def check_mixpanel_url(cls, url: str | None) -> str | None:
        """Refuse what is no address, or more than the base of one."""
        if url is None:
            return None
        try:
            parts = urlsplit(url.strip())
            is_base = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_base = False
        if not is_base or re.search(r"[\s?#@\x00-\x1f\x7f]", url.strip()):
            raise ValueError("this is not an address such as https://mixpanel.example/base")
        return url.strip()

    @field_validator("dashboard_url")
    @classmethod
    def check_dashboard_url(cls, url: str | None) -> str | None:
        """Refuse what no link can begin with."""
        if url is None:
            return None
        if not _is_address(url.strip()) or re.search(r"[?#]", url):
            raise ValueError("this is not an address such as https://bridge.example.com")
        return url.strip().rstrip("/")

    @field_validator("ping_url")
    @classmethod
    def check_ping_url(cls, url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        """Refuse what cannot be asked; where it leads to is checked whenever it is."""
        text = url.get_secret_value().strip() if url else ""
        if not text:
            return None
        if not _is_address(text):
            raise ValueError("this is not an address such as https://hc-ping.com/…")
        if not text.lower().startswith("https:") and not info.data.get("allow_private_hosts"):
            raise ValueError("only https addresses are accepted")
        return SecretStr(text)

    @field_validator("admins", "allowed_domains")
    @classmethod
    def check_list(cls, text: str, info: ValidationInfo) -> str:
        """Refuse entries that no one has: they would let nobody in, in silence."""
        form, what = (_ADDRESS, "e-mail address") if info.field_name == "admins" else (_DOMAIN, "domain")
        for number, entry in enumerate(text.split(","), 1):
            if entry.strip() and not form.fullmatch(entry.strip()):
                raise ValueError(f"entry {number} is not one {what}; put commas between them")
        return text

    @field_validator("page_size", mode="plain")
    @classmethod
    def check_page_size(cls, value: Any) -> Any:
        """Take a number within its bounds, or the word for never asking; blank is not set."""
        text = str(value).strip().lower() if value is not None else ""
        if not text or text == VENDOR:
            return text or None
        number = whole_of(text)
        if number is None or not LEAST_PAGE <= number <= MOST_PAGE:
            raise ValueError(f"it is neither {VENDOR} nor a whole number from {LEAST_PAGE:,} to {MOST_PAGE:,}")
        return number

    @field_validator("metrics_address")
    @classmethod
    def check_metrics_address(cls, text: str) -> str:
        """Refuse what is neither an address with a port nor the word for none."""
        if text.strip().lower() == OFF:
            return OFF
        if split_address(text.strip()) is None:
            raise ValueError(f"it is neither {OFF} nor an address with a port, such as 127.0.0.1:8502")
        return text.strip()

    @field_validator("metrics_token")
    @classmethod
    def check_metrics_token(cls, token: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        """Refuse to be seen by other machines without a token, and one that could be guessed."""
        text = token.get_secret_value().strip() if token else ""
        if not text:
            at = split_address(info.data.get("metrics_address", OFF))
            if at and not is_loopback_host(at[0]):
                raise ValueError("it is needed, since COHORT_BRIDGE_METRICS_ADDRESS lets other machines ask")
            return None
        if len(text) < _LEAST_TOKEN or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError(f"it is not {_LEAST_TOKEN} or more letters, digits and signs without blanks")
        return SecretStr(text)

    @field_validator("log_level")
    @classmethod
    def check_level(cls, level: str) -> str:
        """Refuse what is no level."""
        if level.strip().upper() not in _LEVELS:
            raise ValueError(f"choose one of {', '.join(_LEVELS)}")
        return level.strip().upper()

    @property
    def metrics_at(self) -> tuple[str, int] | None:
        """The host and port of health and metrics, None where they are off."""
        return None if self.metrics_address == OFF else split_address(self.metrics_address)

    @model_validator(mode="after")
    def place_the_database(self) -> Self:
        """Default the database into the home folder."""
        if not self.database_url:
            path = quote(os.fspath(self.home / "cohort_bridge.db"))  # as a URL has a question mark, and a percent sign
            object.__setattr__(self, "database_url", f"sqlite:///{path}")
        return self

    @property
    def audit_head(self) -> Path:
        """The file that the audit log's newest line is noted in, outside the database."""
        return self.home / "audit.head"

    @property
    def delivery_mark(self) -> Path:
        """The file that notes how much was delivered, outside the database."""
        return self.home / "deliveries.mark"

    @property
    def snapshots(self) -> Path:
        """Folder of the members' snapshots: the storage, or of one that is none the local cache of it."""
        if not self.storage_url:
            return self.home / "snapshots"
        return folder_of(self.storage_url) or self.home / "cache"

    @property
    def associations(self) -> Path:
        """Folder of the rows of associations, one below for each: beside the snapshots, or below them elsewhere."""
        folder = folder_of(self.storage_url) if self.storage_url else None
        return (folder or self.home) / "associations"

    @property
    def scratch(self) -> Path:
        """Folder of what runs spill to disk while they work; may be emptied when none does."""
        return self.home / "scratch"

    @property
    def csv_folder(self) -> Path:
        """Where the CSV destination writes unless another folder is named."""
        return self.home / "groups"


def _is_address(text: str) -> bool:
    """Return whether a text is an address of the web without user name and password."""
    try:
        parts = urlsplit(text)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return is_whole and "@" not in parts.netloc and not re.search(r"[\s\x00-\x1f\x7f]", text)


def read() -> Settings:
    """Read the settings of this process.

    Raises: SettingsError naming the variable, or the file, that cannot be used.
    """
    _check_file(Path(_FILE))
    try:
        return Settings()
    except ValidationError as exc:
        problem = exc.errors(include_url=False, include_input=False)[0]
        name = "COHORT_BRIDGE_" + "_".join(str(part) for part in problem["loc"]).upper()
        raise SettingsError(f"{name} cannot be used: {_say(problem)}.", code="bad_setting") from None


def _say(problem: ErrorDetails) -> str:
    """Say what is wrong with a value, where the library's own words are for programmers."""
    words = _WORDS.get(problem["type"])
    return words.format(**problem.get("ctx", {})) if words else problem["msg"].removeprefix("Value error, ")


def _check_file(path: Path) -> None:
    """Refuse a file that is not read as it is meant: the library passes over what it does not understand."""
    try:
        with open_file(path) as file:
            text = file.read(_MOST_BYTES + 1).decode("utf-8-sig")
    except FileNotFoundError:
        return
    except UnicodeDecodeError:
        raise _unusable("it is not text in UTF-8") from None
    except NoFile as exc:
        if not (path / "pyvenv.cfg").exists():  # Python's own folders of that name are none of ours
            raise _unusable(f"it is {exc.kind}, and no file") from None
        return
    except OSError as exc:
        raise _unusable(f"it cannot be read ({exc.strerror})") from None
    from dotenv.parser import parse_stream

    if "\0" in text or len(text) > _MOST_BYTES:
        raise _unusable("it is not text in UTF-8" if "\0" in text else "it is larger than a megabyte")
    for line in parse_stream(io.StringIO(text)):
        if line.error:
            raise _unusable(f"line {line.original.line} is not NAME=VALUE")


def _unusable(why: str) -> SettingsError:
    return SettingsError(
        f"The file {_FILE} of this folder cannot be used: {why}.",
        advice="Correct it, as text in UTF-8 with NAME=VALUE on each line; .env.example shows how.",
        code="bad_setting",
    )
