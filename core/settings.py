"""What can be configured: environment or `.env`, read once in each entry point and passed down."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import SettingsError


class Settings(BaseSettings):
    """All settings, frozen. `.env.example` lists every one with its meaning."""

    model_config = SettingsConfigDict(env_prefix="COHORT_BRIDGE_", env_file=".env", extra="ignore", frozen=True)

    home: Path = Path("var")
    database_url: str = ""
    secret_key: SecretStr | None = None
    mixpanel_url: str | None = None
    mixpanel_secret: SecretStr | None = None
    mixpanel_project_token: SecretStr | None = None
    apptimize_token: SecretStr | None = None
    allow_private_hosts: bool = False
    admins: str = ""
    allowed_domains: str = ""
    first_sign_in: Literal["viewer", "refused"] = "refused"
    sign_in_hours: float = Field(default=12.0, gt=0, le=30 * 24)
    sign_in_idle_minutes: float = Field(default=120.0, gt=0, le=30 * 24 * 60)
    messages_in_flight: int = Field(default=4, ge=1, le=16)
    runs_in_flight: int = Field(default=4, ge=1, le=32)
    page_size: int | None = Field(default=None, ge=100, le=50_000)
    retry_over_s: float = Field(default=60.0, gt=0, le=600)
    snapshot_memory_mb: int = Field(default=80, ge=40)
    log_level: str = "INFO"

    @model_validator(mode="after")
    def place_the_database(self) -> Self:
        """Default the database into the home folder."""
        object.__setattr__(self, "home", self.home.expanduser().resolve())
        if not self.database_url:
            object.__setattr__(self, "database_url", f"sqlite:///{self.home / 'cohort_bridge.db'}")
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
        """Folder of the members' snapshots."""
        return self.home / "snapshots"

    @property
    def scratch(self) -> Path:
        """Folder of what runs spill to disk while they work; may be emptied when none does."""
        return self.home / "scratch"

    @property
    def csv_folder(self) -> Path:
        """Where the CSV destination writes unless another folder is named."""
        return self.home / "groups"


def read() -> Settings:
    """Read the settings of this process.

    Raises: SettingsError naming the variable that cannot be used.
    """
    try:
        return Settings()
    except ValidationError as exc:
        problem = exc.errors(include_url=False, include_input=False)[0]
        name = "COHORT_BRIDGE_" + "_".join(str(part) for part in problem["loc"]).upper()
        raise SettingsError(f"{name} cannot be used: {problem['msg']}.", code="bad_setting") from None
