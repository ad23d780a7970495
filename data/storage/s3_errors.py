"""What goes wrong in object storage, as sentences: of the library's words only the kind is told, and no secret."""

from __future__ import annotations

import re

from data.storage.port import StorageUnavailable

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_METADATA = ("169.254.", "metadata", "instancecredential", "webidentity", "security-credentials")
_ENDED = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired")
_WRONG = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidClientTokenId", "AuthFailure")
_SET_KEYS = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment of every process, then start it again."
# What is made of it where the library gives up because it can make no request of what it was told.
PANIC = "the library panicked"
_ODD_NAME = re.compile(r"object with invalid path.*?Path \"(.*?)\"", re.DOTALL)


def code_of(text: str) -> str:
    """Return the code that the service gave with its answer, empty where there is none."""
    found = _CODE.search(text)
    return found[1] if found else ""


def status_of(text: str) -> int:
    """Return the status of the answer, 0 where there was none."""
    found = _STATUS.search(text)
    return int(found[1]) if found else 0


def odd_name(text: str) -> str:
    """Return the name of the object that the library cannot list, with which it lists none; empty where that is not it.

    Of its signs those that are not of a line are written otherwise.
    """
    found = _ODD_NAME.search(text)
    return found[1].encode("unicode_escape").decode()[:120] if found else ""


def is_lasting(text: str) -> bool:
    """Return whether asking again cannot help: the service understood, and refused."""
    status = status_of(text)
    if "builder error" in text or text == PANIC or odd_name(text):
        return True
    return 400 <= status < 500 and status not in (408, 409, 425, 429)


def say(text: str, *, bucket: str, address: str) -> StorageUnavailable:
    """Say what went wrong, by the library's words of it."""
    status, code = status_of(text), code_of(text)
    if text == PANIC:
        advice = "See whether one of them ends with a line's end or holds a blank, correct it, then start again."
        return _unusable("cannot be asked with what the AWS_ variables hold", advice)
    if name := odd_name(text):
        return _unusable(
            f"holds an object under a name with which nothing there can be listed: {name}",
            "Remove it or rename it there, or give Cohort Bridge a prefix that nothing else uses.",
        )
    if any(word in text.lower().partition("debug source")[0] for word in _METADATA):
        return _unusable("has no credentials to be used with", _SET_KEYS)
    if code in _ENDED:
        return _unusable(
            "refuses these credentials: they have ended", f"Renew them. {_SET_KEYS} What failed can be started again."
        )
    if code in _WRONG or status == 401:
        return _unusable("does not know these credentials", _SET_KEYS)
    if code == "NoSuchBucket":
        return _unusable(
            f"has no bucket {bucket}", "Make the bucket, or correct COHORT_BRIDGE_STORAGE_URL, then start again."
        )
    if code == "RequestTimeTooSkewed":
        return _unusable("refuses requests: this machine's clock is off", "Set the clock, then try again.")
    if status == 403:
        advice = f"Let the credentials list the bucket {bucket}, and read, put and delete objects under its prefix."
        return _unusable("does not let these credentials in", advice)
    if status in (301, 307, 400) and ("region" in text.lower() or code == "PermanentRedirect" or status == 301):
        return _unusable(f"keeps the bucket {bucket} in another region", "Set AWS_REGION to it, then start again.")
    if status in (429, 503) or status >= 500:
        return _unusable(
            f"answered with errors ({status}) until the time for it was over",
            "It may be overloaded or under repair. Try again in a few minutes.",
        )
    if status:
        return _unusable(f"refused a request ({status}{f', {code}' if code else ''})", f"See whether {address} is S3.")
    if any(word in text for word in ("TimedOut", "kind: Timeout", "timed out")):
        return _unusable("did not answer in time", "See whether it is slow, or out of reach from here; then try again.")
    if "builder error" in text:
        return _unusable(
            "is not asked over plain http off this machine",
            "Use https in AWS_ENDPOINT_URL, or set COHORT_BRIDGE_ALLOW_PRIVATE_HOSTS=1 where the network is yours.",
        )
    return _unusable(
        "cannot be reached, or broke off its answer",
        "See whether it runs, and whether AWS_ENDPOINT_URL and AWS_REGION lead to it; then try again.",
    )


def _unusable(what: str, advice: str) -> StorageUnavailable:
    return StorageUnavailable(f"The object storage {what}.", advice=advice)
