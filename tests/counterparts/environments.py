"""An environment of its own for each reader, made once for the versions that are pinned."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

from tests.counterparts.readers import HERE, NODE, Reader
from tests.stage.processes import ROOT, clean_environment

FOLDER = ROOT / "var" / "counterparts"
INSTALL_WITHIN_S = 600


class NotInstalledError(Exception):
    """The reader cannot be run here; the text says why."""


def installed(reader: Reader) -> tuple[list[str], Path]:
    """Return how drivers of the reader are started, and in which folder; install what is missing.

    Raises: NotInstalledError, with what pip or npm answered last.
    """
    folder = FOLDER / reader.package
    node = shutil.which("node") if reader.kind == NODE else None
    if reader.kind == NODE and not (node and shutil.which("npm")):
        raise NotInstalledError("node or npm is missing on this machine")
    stamp = folder / "installed"
    # An environment holds where it lies, and cannot be moved.
    made_of = reader.requirements.read_bytes() + f"{sys.version} {folder}".encode()
    pinned = hashlib.sha256(made_of).hexdigest()
    if not stamp.exists() or stamp.read_text() != pinned:
        shutil.rmtree(folder, ignore_errors=True)  # half a folder from a try before would count as done
        folder.mkdir(parents=True)
        _install(reader, folder)
        stamp.write_text(pinned)
    return [node] if node else [str(folder / "bin" / "python")], folder


def _install(reader: Reader, folder: Path) -> None:
    if reader.kind == NODE:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)
        # Nothing that is installed needs a script of its own to be run.
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], folder)
        return
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "-r", str(reader.requirements)], folder)


def _run(command: list[str], folder: Path) -> None:
    begun = time.monotonic()
    try:
        subprocess.run(
            command,
            cwd=folder,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=True,
            timeout=INSTALL_WITHIN_S,
        )
    except subprocess.CalledProcessError as error:
        said = [line for line in f"{error.stdout}\n{error.stderr}".splitlines() if line.strip()]
        raise NotInstalledError(said[-1] if said else f"status {error.returncode}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalledError(f"{type(error).__name__} after {time.monotonic() - begun:.0f} s") from error
