"""Let all databases that a process of tests opens share what SQLAlchemy has compiled.

Each test opens a home of its own, and would compile the same hundred statements again: a tenth of what the tests take.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

_COMPILED: LRUCache[Any, Any] = LRUCache(2000)


class SharedStatements(SQLiteDialect_pysqlite):
    """SQLite as it is. What is compiled is kept by dialect, and to SQLAlchemy these are all the same one."""

    supports_statement_cache = True

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        engine.update_execution_options(compiled_cache=_COMPILED)


def share_statements() -> None:
    """Use it for every engine that is made from now on."""
    for name in ("sqlite", "sqlite.pysqlite"):
        registry.register(name, __name__, SharedStatements.__name__)
