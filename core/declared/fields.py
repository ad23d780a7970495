"""Taking the fields of one table: each is checked, each mistake is noted at its line, and none stops the next."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, TypeVar, cast

from core.declared.entries import Mistake, Variable, sentence
from core.declared.environment import checked_variable
from core.declared.toml import Lines, Path
from core.errors import SettingsError
from core.text import shown

T = TypeVar("T")
# No database keeps a larger number, and Python writes out none of thousands of digits.
_TOO_LARGE = 2**63
_KINDS: dict[type[Any], str] = {
    str: "a text in quotes",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
    datetime: "a time",
}


class Fields:
    """The fields of one table. What is wrong is noted in `mistakes`, and None returned in its place."""

    def __init__(self, table: dict[str, Any], path: Path, lines: Lines, mistakes: list[Mistake]) -> None:
        self.path = path
        self._table, self._lines, self._mistakes = table, lines, mistakes
        self._taken = set[str]()
        self._is_refused = False

    @property
    def is_whole(self) -> bool:
        """Whether nothing that was taken so far is wrong."""
        return not self._is_refused

    def refuse(self, name: str, message: str) -> None:
        """Note a mistake in a field."""
        self._is_refused = True
        where = f"{self.path[0]}.{name}" if self.path else name
        self._mistakes.append(Mistake(self._lines.find((*self.path, name)), where, message))

    def take(self, name: str, kind: type[T], *, needed: bool = False) -> T | None:
        """Return the value of a field, None where there is none."""
        value = self._take(name, needed=needed)
        if value is None:
            return None
        is_kind = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
        if not is_kind:
            self.refuse(name, f"this is {_KINDS.get(kind, 'something else')}.")
            return None
        if kind is int and abs(cast("int", value)) >= _TOO_LARGE:
            self.refuse(name, "this number is too large.")
            return None
        return cast("T", value)

    def _take(self, name: str, *, needed: bool) -> Any:
        self._taken.add(name)
        value = self._table.get(name)
        if value is None and needed:
            self.refuse(name, "this is needed.")
        return value

    def check(self, name: str, function: Callable[..., T], *arguments: Any) -> T | None:
        """Return what a check makes of a field; what it refuses is a mistake of that field."""
        try:
            return function(*arguments)
        except SettingsError as exc:
            self.refuse(name, sentence(exc))
            return None

    def text(self, name: str, check: Callable[[str], T], *, needed: bool = False) -> T | None:
        """Return a text as a check makes it."""
        value = self.take(name, str, needed=needed)
        return None if value is None else self.check(name, check, value)

    def choice(self, name: str, choices: Collection[str], usual: str) -> str:
        """Return one of several words."""
        value = self.take(name, str)
        if value is None or value in choices:
            return usual if value is None else value
        self.refuse(name, f"choose one of {', '.join(choices)}.")
        return usual

    def texts(self, name: str) -> list[str]:
        """Return a list of texts."""
        values = self.take(name, cast("type[list[Any]]", list)) or []
        if all(isinstance(value, str) for value in values):
            return values
        self.refuse(name, "this is a list of texts in quotes.")
        return []

    def tables(self, name: str) -> list[dict[str, Any]]:
        """Return a list of tables."""
        values = self.take(name, cast("type[list[Any]]", list)) or []
        if all(isinstance(value, dict) for value in values):
            return values
        self.refuse(name, "this is a list of tables, [{ … }].")
        return []

    def variable(self, name: str, *, needed: bool = False) -> Variable | None:
        """Return the variable that holds a secret. What stands there instead is never shown: it may be the secret."""
        value = self._take(name, needed=needed)
        if value is None:
            return None
        if not isinstance(value, dict) or list(cast("dict[str, Any]", value)) != ["env"]:
            self.refuse(name, 'no secret stands in this file: name its environment variable, { env = "NAME" }.')
            return None
        named = cast("dict[str, Any]", value)["env"]
        return self.check(name, checked_variable, named if isinstance(named, str) else "")

    def is_table(self, name: str) -> bool:
        """Return whether a table stands in the place of a field."""
        return isinstance(self._table.get(name), dict)

    def has(self, name: str) -> bool:
        """Return whether there is a field of this name."""
        return name in self._table

    def refuse_others(self) -> None:
        """Refuse the fields that were not taken: nothing of the file is passed over."""
        for name in self._table:
            if name not in self._taken:
                self.refuse(shown(name, most=60), "there is no such field here.")
