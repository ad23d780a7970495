"""TOML: read with the line of everything in it, and text as it is written there."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from typing import Any, cast

from core.text import escaped

# Where something is in the file: the names of tables and keys, and the numbers of those of which there are several.
Path = tuple[str | int, ...]
# What decides where a key with its value ends: what text and notes hold counts for nothing.
_MARKS = re.compile(
    "|".join(
        (
            r"#[^\n]*",
            r'"{3}[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"{3,5}',
            r"'{3}[^']*(?:'(?!'')[^']*)*'{3,5}",
            r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"',
            r"'[^'\n]*'",
            r"[\[\]{}\n]",
        )
    ),
    re.DOTALL,
)
# Far more keys within keys than any file has: reading them takes the square of their number.
_KEYS_WITHIN_KEYS = re.compile(r"""(?<![\w"'-])(?:[\w"'-]++[ \t]*+\.[ \t]*+){50}""")
_AT_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


class NotToml(ValueError):
    """The text is no TOML; `line` is where reading it came to its end."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


class Lines:
    """On which line everything of a file is."""

    def __init__(self, found: dict[Path, int]) -> None:
        self._found = found

    def find(self, path: Path) -> int:
        """Return the line of what is there; of what is missing, that of the table it is missed in."""
        while path and path not in self._found:
            path = path[:-1]
        return self._found.get(path, 1)


def read_toml(text: str) -> tuple[dict[str, Any], Lines]:
    """Read a file. Raises NotToml."""
    if deep := _KEYS_WITHIN_KEYS.search(text):
        raise NotToml("Too many keys within keys", _line_at(text, deep.start()))
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        at = _AT_LINE.search(str(exc))
        line = int(at[1]) if at and at[1] else text.count("\n") + 1
        raise NotToml(_AT_LINE.sub("", str(exc)), line) from None
    except RecursionError:
        raise NotToml("Too many brackets within brackets", 1) from None
    except ValueError:  # what Python makes of a number is not the parser's to refuse
        long = re.search(rf"\d(?:_?\d){{{sys.get_int_max_str_digits()}}}", text)
        raise NotToml("A number has too many digits", _line_at(text, long.start() if long else 0)) from None
    return values, Lines(_find_lines(text))


def write_text(text: str) -> str:
    """Return a text as a TOML string on one line: JSON's escapes are TOML's, and what steers a terminal is escaped."""
    return escaped(json.dumps(text, ensure_ascii=False))


def _find_lines(text: str) -> dict[Path, int]:
    found = dict[Path, int]()
    several = dict[Path, int]()  # how many tables there are of a name so far
    table: Path = ()
    for line, statement, parsed in _statements(text):
        if statement.lstrip().startswith("["):
            table = _open_table(_header_keys(parsed), several, is_one_of_several=statement.lstrip().startswith("[["))
            found.setdefault(table, line)
        else:
            for path in _paths(parsed):
                found.setdefault((*table, *path), line)
    return found


def _line_at(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _statements(text: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield each header, and each key with its value, by its first line.

    One ends with its line, unless a bracket is open there: then with the line on which all are closed.
    """
    start, line, depth = 0, 1, 0
    for mark in _MARKS.finditer(text + "\n"):
        depth += (mark[0] in ("[", "{")) - (mark[0] in ("]", "}"))
        if mark[0] == "\n" and depth == 0:
            statement = text[start : mark.start()]
            if parsed := tomllib.loads(statement):
                yield line, statement, parsed
            start, line = mark.end(), line + statement.count("\n") + 1


def _header_keys(parsed: Any) -> list[str]:
    keys = list[str]()
    while parsed:
        table = cast("dict[str, Any]", parsed[0] if isinstance(parsed, list) else parsed)
        if table:
            keys.append(next(iter(table)))
        parsed = next(iter(table.values()), None)
    return keys


def _open_table(keys: list[str], several: dict[Path, int], *, is_one_of_several: bool) -> Path:
    path: Path = ()
    for key in keys[:-1]:
        path = (*path, key)
        path = (*path, several[path] - 1) if path in several else path
    path = (*path, keys[-1])
    if is_one_of_several:
        several[path] = several.get(path, 0) + 1
    return (*path, several[path] - 1) if path in several else path


def _paths(value: Any) -> Iterator[Path]:
    """Yield where everything within a value is."""
    inner = list[tuple[str | int, Any]]()
    if isinstance(value, dict):
        inner = list(cast("dict[str | int, Any]", value).items())
    elif isinstance(value, list):
        inner = list(enumerate(cast("list[Any]", value)))
    for key, each in inner:
        yield (key,)
        yield from ((key, *path) for path in _paths(each))
