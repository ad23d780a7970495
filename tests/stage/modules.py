"""All modules of `core`, imported: what each of them declares is known then."""

from __future__ import annotations

import importlib
import pkgutil
from importlib.util import find_spec

import core

# Installed with PostgreSQL's driver alone: without it nothing imports the module that hands out work through it.
_OPTIONAL = {"core.worker.dispatch.procrastinate": "procrastinate"}


def import_core() -> None:
    """Import every module but the commands' own, and those whose optional library is not installed."""
    for module in pkgutil.walk_packages(core.__path__, "core."):
        library = _OPTIONAL.get(module.name)
        if not module.name.endswith("__main__") and (library is None or find_spec(library)):
            importlib.import_module(module.name)
