"""The log files that processes of `up` write: an id is written over where it stands, since a process has it open."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

_CHUNK = 2**20


def mask_ids(folder: Path, ids: Sequence[str]) -> int:
    """Write asterisks over these ids in all logs of a folder, and return how often they stood there. Raises OSError.

    An id that is a part of a longer word is none.
    """
    found, longest = _pattern(ids)
    return sum(_mask(path, found, longest) for path in sorted(folder.glob("*.log")))


def count_ids(folder: Path, ids: Sequence[str]) -> int:
    """Count how often these ids stand in the logs of a folder. Raises OSError."""
    found, longest = _pattern(ids)
    return sum(len(_find(path, found, longest)) for path in sorted(folder.glob("*.log")))


def _pattern(ids: Sequence[str]) -> tuple[re.Pattern[bytes], int]:
    forms = {*ids, *(json.dumps(user_id)[1:-1] for user_id in ids), *(ascii(user_id)[1:-1] for user_id in ids)}
    encoded = sorted((form.encode() for form in forms), key=len, reverse=True)
    either = b"|".join(map(re.escape, encoded))
    return re.compile(rb"(?<![\w-])(?:" + either + rb")(?![\w-])"), max(map(len, encoded))


def _find(path: Path, found: re.Pattern[bytes], longest: int) -> list[tuple[int, int]]:
    """Find where in a file the ids stand: from where to where."""
    places = dict[int, int]()
    with path.open("rb") as file:
        start, rest, chunk = 0, b"", file.read(_CHUNK)
        while chunk:
            following = file.read(_CHUNK)
            text = rest + chunk
            for match in found.finditer(text):
                # At an edge of what is looked at it may be a part of a word: there it was, or will be, seen whole.
                if not (start and match.start() == 0) and not (following and match.end() == len(text)):
                    places[start + match.start()] = start + match.end()
            rest = text[-longest - 1 :]
            start, chunk = start + len(text) - len(rest), following
    return sorted(places.items())


def _mask(path: Path, found: re.Pattern[bytes], longest: int) -> int:
    places = _find(path, found, longest)
    if places:
        with path.open("r+b") as file:
            for start, end in places:
                file.seek(start)
                file.write(b"*" * (end - start))
    return len(places)
