"""What a vendor's answer claims: that it is a success, and numbers. Believed only as far as it can be true."""

from __future__ import annotations

from typing import Any, cast

from core.errors import VendorSurprise
from core.text import STEERING

# No cohort, page or limit comes near it: a larger number is a mistake, and as a bound of a loop it is none.
MOST = 10**9


def as_object(value: object) -> dict[str, Any]:
    """Return an object of an answer; an empty one in the place of anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def states_error(error: object) -> bool:
    """Return whether the `error` of an answer is one: neither null nor empty."""
    return error not in (None, "", [], {})


def find_text(error: object) -> str:
    """Find a vendor's own words in an `error`: a text, an object with a message, or a list of them."""
    for _ in range(3):  # so deep are the documented forms nested
        if fields := as_object(error):
            error = fields.get("message")
        elif isinstance(error, list):
            error = next(iter(cast("list[Any]", error)), None)
    return error if isinstance(error, str) else ""


def quote(words: str, *, most: int = 100) -> str:
    """Cut a vendor's own words to what fits into a sentence."""
    line = " ".join(STEERING.sub(" ", words[: 4 * most]).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def read_status(code: object) -> int | None:
    """Read the HTTP status that a body states; None when it states none that is a failure's."""
    if isinstance(code, str) and len(code) == 3 and code.isascii() and code.isdecimal():
        code = int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) and 400 <= code < 600 else None


def read_whole_number(value: object, field: str, *, least: int = 0) -> int:
    """Check a number of an answer. Raises VendorSurprise naming the field."""
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= MOST:
        raise VendorSurprise(
            f"Mixpanel's answer holds a “{field}” that is no number it could be.", code="mixpanel_odd_number"
        )
    return number
