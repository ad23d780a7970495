"""Answers of any shape: what a vendor documents, changed, cut off, nested, packed and framed in every way."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.stage.hostile import bomb, endless, endless_members, head, nested

_FIELDS = (
    "results", "page", "page_size", "total", "session_id", "status", "error", "action", "code", "message", "id", "name",
    "count", "is_visible", "created", "description", "data_group_id", "username", "role", "expires", "$distinct_id",
    "$properties", "$apptimize_user_id", "num_records_imported", "num_good_events", "failed_records", "index",
    "id_merge",
)  # fmt: skip
_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 20),
    st.sampled_from(
        (10**9, 10**9 + 1, 2**53 + 1, 2**63, 10**30, -(10**30), 1e308, 0.5, 3.0, float("inf"), float("nan"))
    ),
    st.sampled_from(("", "ok", "OK", "success", "failure", "error", "3", "901", "2026-11-23", "Never", "9" * 400)),
    st.sampled_from(("\ud800", "\x1b[2J", "\u202e", "\x00", "x" * 5000, "request for page in uncached query", "i_7")),
    st.text(max_size=8),
)
_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=5),
    max_leaves=10,
)
_STATUSES = st.sampled_from(
    (200, 200, 200, 200, 201, 204, 301, 304, 307, 400, 401, 402, 403, 404, 408, 410, 418, 425, 429, 500, 503, 599, 999)
)
_HEADERS = st.dictionaries(
    st.sampled_from(
        (
            "RateLimit", "RateLimit-Policy", "Retry-After", "Content-Encoding", "Content-Type", "Location", "Date",
            "Set-Cookie",
        )
    ),
    st.sampled_from(
        (
            "", "0", "-1", "9" * 400, "nan", '"project";r=0;t=3600', '"project"; r=0', f'"project";q={10**30};w=-1',
            '"project";q=3;w=600', "gzip", "br", "gzip, gzip", "deflate", "identity", "https://eu.mixpanel.com/x",
            "http://[", "//", "a=b; Max-Age=9; Domain=127.0.0.1", "Mon, 23 Nov 2026 12:00:00 GMT",
            "Mon, 99 Nov 99999 12:00:00", "\xe4\xf6",
        )
    ),
    max_size=3,
)  # fmt: skip
_SHAPES = ("whole", "field", "field", "field", "gone", "row", "tree", "cut", "nested", "bytes", "endless")
_FRAMES = ("length", "length", "length", "close", "chunked", "short", "gzip", "half of gzip", "no http", "nothing")


@dataclass(frozen=True)
class OddAnswer:
    """How an answer differs from the documented one, and how often it is given before that one is."""

    shape: str
    frame: str
    status: int
    headers: dict[str, str]
    field: str
    value: Any
    at: int
    strikes: int

    def pieces(self, right: Any) -> Iterable[bytes]:
        """Return what is sent in place of the documented answer."""
        if self.shape == "endless":
            return (endless, bomb, endless_members)[self.at % 3](self.status)
        return self._framed(self.body(right))

    def body(self, right: Any) -> bytes:
        """Return the body in place of the documented one."""
        whole = json.dumps(right).encode()
        match self.shape:
            case "whole":
                return whole
            case "cut":
                return whole[: self.at % len(whole)]
            case "bytes":
                return bytes(self.at * number % 256 for number in range(self.at % 50))
            case "nested":
                return whole.replace(b"[", b"[" + nested(10 ** (self.at % 6)) + b",", 1)
            case "tree":
                return json.dumps(self.value).encode()
            case _:
                return json.dumps(self._changed(right)).encode()

    def _changed(self, right: Any) -> Any:
        if isinstance(right, list):
            return [*right[:-1], self._changed(right[-1])]
        if self.shape == "row" and right.get("results"):
            rows = list(right["results"])
            at = self.at % len(rows)
            rows[at] = self._changed_row(rows[at])
            return {**right, "results": rows}
        names = [*right, self.field]
        name = names[self.at % len(names)]
        changed = {**right, name: self.value}
        if self.shape == "gone":
            del changed[name]
        return changed

    def _changed_row(self, row: dict[str, Any]) -> Any:
        ways = (self.value, {**row, self.field: self.value}, {"$distinct_id": self.value, "$properties": {}})
        return (*ways, {**row, "$properties": {"$apptimize_user_id": self.value}})[len(self.field) % 4]

    def _framed(self, body: bytes) -> list[bytes]:
        fields = {name.replace("-", "_"): value for name, value in self.headers.items()}
        match self.frame:
            case "close":
                return [head(self.status, **fields), body]
            case "chunked":
                chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
                return [head(self.status, Transfer_Encoding="chunked", **fields), chunk]
            case "short":
                return [head(self.status, Content_Length=str(len(body) + 9), **fields), body]
            case "gzip" | "half of gzip":
                packed = gzip.compress(body)
                packed = packed if self.frame == "gzip" else packed[: len(packed) // 2]
                fields["Content_Encoding"] = "gzip"
                return [head(self.status, Content_Length=str(len(packed)), **fields), packed]
            case "no http":
                return [body or b"\x00"]
            case "nothing":
                return []
            case _:
                return [head(self.status, Content_Length=str(len(body)), **fields), body]


ODD_ANSWERS = st.builds(
    OddAnswer,
    shape=st.sampled_from(_SHAPES),
    frame=st.sampled_from(_FRAMES),
    status=_STATUSES,
    headers=_HEADERS,
    field=st.sampled_from(_FIELDS),
    value=_TREES,
    at=st.integers(0, 999),
    strikes=st.sampled_from((1, 99, 99)),
)
