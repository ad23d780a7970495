"""The files that run it in containers, read as far as a test needs them: no daemon has to be there."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tests.stage.processes import ROOT

DOCKERFILE, COMPOSE, IGNORED = ROOT / "Dockerfile", ROOT / "compose.yaml", ROOT / ".dockerignore"


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile, its lines joined."""

    stage: int  # counted from 0
    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words of a COPY, or what a CMD runs, without options such as --from."""
        listed = self.text[self.text.index("[") :] if re.search(r"(^|CMD )\[", self.text) else None
        return json.loads(listed) if listed else [word for word in self.text.split() if not word.startswith("--")]


def instructions() -> list[Instruction]:
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    found, stage = list[Instruction](), -1
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, text = line.strip().partition(" ")
        stage += name == "FROM"
        if name:
            found.append(Instruction(stage, name, " ".join(text.split())))
    return found


def copied() -> list[tuple[str, str]]:
    """List what is copied into the image from the folder that it is built in, and where to."""
    copies = [one for one in instructions() if one.name == "COPY" and "--from" not in one.text]
    return [(source, words[-1]) for words in (one.words for one in copies) for source in words[:-1]]


def services() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())["services"]


def is_left_out(path: str) -> bool:
    """Return whether .dockerignore keeps a file from the build; the last pattern that fits decides."""
    left_out = False
    for line in IGNORED.read_text().splitlines():
        pattern = line.removeprefix("!").rstrip("/")
        if pattern and not line.startswith("#") and _fits(path, pattern):
            left_out = not line.startswith("!")
    return left_out


def _fits(path: str, pattern: str) -> bool:
    tries = [path, *map(str, PurePosixPath(path).parents)]
    if pattern.startswith("**/"):
        tries += [PurePosixPath(one).name for one in tries]
    return any(fnmatch(one, pattern.removeprefix("**/")) for one in tries if one != ".")


def lay_out(target: Path) -> Path:
    """Make /app as the Dockerfile does, and nobody may write to it."""
    for source, into in copied():
        if source == "requirements.txt":
            continue
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target / into, ignore=_leave_out)
        else:
            (target / into).mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / source, target / into)
    for path in [*target.rglob("*"), target]:
        path.chmod(path.stat().st_mode & 0o555)
    return target


def _leave_out(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if is_left_out((Path(folder) / name).relative_to(ROOT).as_posix())]
