"""Which readers there are, and how each is installed and started."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.stage.sandbox import IMPORTED

HERE = Path(__file__).parent
NODE = "node"
PYTHON = "python"


@dataclass(frozen=True)
class Reader:
    """A public reader, and what it can do by its own design."""

    package: str
    driver: str
    kind: str = PYTHON
    everyone: bool = False  # it asks for ids without a profile too, as the API does by default
    properties: bool = True  # it hands profiles on, not ids alone
    pages: bool = True  # it asks for the pages after the first
    cannot: Mapping[int, str] = field(default_factory=dict[int, str])  # cohorts that it fails at, and why
    notes: tuple[str, ...] = ()  # in what it differs, which is its own matter

    @property
    def version(self) -> str:
        """Return the version that is pinned."""
        if self.kind == NODE:
            return json.loads((HERE / "package.json").read_text())["dependencies"][self.package]
        found = re.match(rf"{self.package}==(\S+)\n", self.requirements.read_text())
        assert found, f"{self.requirements.name} begins with {self.package}"
        return found[1]

    @property
    def requirements(self) -> Path:
        """Return the file that pins what is installed."""
        return HERE / "package-lock.json" if self.kind == NODE else HERE / "requirements" / f"{self.package}.txt"


READERS = (
    Reader("mixpanel-utils", "utils.py"),
    Reader("mixpanel-headless", "headless.py"),
    Reader(
        "tap-mixpanel",
        "tap.py",
        everyone=True,
        properties=False,
        notes=(
            "hands on the ids of a cohort's members alone, those without a profile too",
            "signs in with the project's secret, and not with a service account",
            "is read cohort by cohort: run whole, it stops at the first cohort that is refused (a group cohort)",
        ),
    ),
    Reader(
        "mcparmory-mixpanel",
        "mcparmory.py",
        pages=False,
        cannot={IMPORTED: "a property that holds half a character (a lone surrogate)"},
        notes=("takes `filter_by_cohort` only with a blank before it: it makes an object of what begins with a brace",),
    ),
    Reader(
        "mixpanel-import",
        "importer.js",
        kind=NODE,
        notes=("takes a cohort's id as a number only: given as text, it is left out and everybody is exported",),
    ),
)
