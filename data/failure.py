"""Why a run or an association did not succeed, as its row keeps it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """Why work did not succeed, and what a person can do about it."""

    code: str
    message: str
    advice: str

    def columns(self) -> dict[str, str]:
        """Return the values of the columns that every row of work has for this."""
        return {"error_code": self.code, "error_message": self.message, "error_advice": self.advice}
