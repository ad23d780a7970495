"""Secrets that a file names: environment variables, or lines of `.env`, whose names say that they are for this."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from pydantic import SecretStr

from core.declared.entries import Variable
from core.errors import SettingsError
from core.settings import Settings

PREFIX = "COHORT_BRIDGE_"
_NAME = re.compile(r"COHORT_BRIDGE_[A-Z0-9_]{1,200}")
# Settings that `connect` takes secrets from: a file may name them as well.
_OF_CONNECT = {"mixpanel_secret", "mixpanel_project_token", "apptimize_token", "receiver_url"}
_OTHER_SETTINGS = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields if name not in _OF_CONNECT}


def checked_variable(name: str) -> Variable:
    """Return a variable that a file may name. Raises SettingsError.

    No other program's secret, and not the key of this one: who may write the file says where it is sent.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"this names an environment variable: capital letters, digits and _, beginning with {PREFIX}."
        )
    if name in _OTHER_SETTINGS:
        raise SettingsError(f"{name} is a setting of this program, and no secret of a connection.")
    return Variable(name)


class Environment:
    """The secrets that are set, by the names of their variables."""

    def __init__(self) -> None:
        from dotenv import dotenv_values

        # As the settings are read: the environment first, then the file.
        file = dotenv_values(".env", encoding="utf-8-sig", interpolate=True)
        self._values = {name: value for name, value in file.items() if value} | dict(os.environ)

    def find(self, variable: Variable | None) -> SecretStr | None:
        """Return the secret that a variable holds, None where it is not set or blank."""
        value = self._values.get(variable.name, "") if variable else ""
        return SecretStr(value) if value.strip() else None


def variable_name(*parts: str, taken: Iterable[str]) -> str:
    """Make the name of a variable from what it is for, which no other has."""
    name = PREFIX + "_".join(re.sub(r"[^A-Z0-9]+", "_", part.upper()).strip("_") or "X" for part in parts)[:150]
    names, used = [name, *(f"{name}_{number}" for number in range(2, 1000))], {*taken, *_OTHER_SETTINGS}
    return next(each for each in names if each not in used)
