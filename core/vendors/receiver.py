"""A receiver of cohort-sync messages: where they go, how it is told who sends, and under which key it takes ids."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from data.models import SignInKind

# Mixpanel's own ids of a member's two ids (docs cohort-sync/webhooks; integrations/apptimize).
DISTINCT_KEY, APPTIMIZE_KEY = "mixpanel_distinct_id", "$apptimize_user_id"
APPTIMIZE_HEADER = "ApptimizeApiToken"


@dataclass(frozen=True)
class Receiver:
    """Where messages go, and as what. Address and secret are in no text of it."""

    url: str = field(repr=False)
    secret: str = field(default="", repr=False)
    sign_in: SignInKind = SignInKind.APPTIMIZE
    sign_in_name: str = ""  # the user name, or the name of the header
    member_key: str = APPTIMIZE_KEY  # what the id of a member is sent under, beside its distinct id
    adds_only: bool = False  # all members that are sent only add, and remove nobody

    @property
    def is_apptimize(self) -> bool:
        """Whether it is signed in to with a token of Apptimize's, and not with anything of its own."""
        return self.sign_in is SignInKind.APPTIMIZE

    def headers(self) -> dict[str, str]:
        """Return the headers that tell who sends."""
        match self.sign_in:
            case SignInKind.APPTIMIZE:
                return {APPTIMIZE_HEADER: self.secret}
            case SignInKind.BASIC:
                pair = f"{self.sign_in_name}:{self.secret}".encode()
                return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
            case SignInKind.BEARER:
                return {"Authorization": f"Bearer {self.secret}"}
            case SignInKind.HEADER:
                return {self.sign_in_name: self.secret}
            case SignInKind.ADDRESS:
                return {}
