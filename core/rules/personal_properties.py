"""Names of profile properties that hold e-mail addresses, names or phone numbers: these are never asked for.

Only a name is known when it is entered, not what profiles hold. So the name is read as its words, however they are
set apart, and what the last of them say counts: `Work E-Mail` holds addresses, `email_verified` says yes or no.
"""

from __future__ import annotations

import re
import unicodedata

from core.errors import SettingsError
from core.invisible import INVISIBLE


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Where a word begins: `firstName`, `userIDs`; letters and digits are set apart as well.
_NEW_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[^\W\d_]+|\d+")
# What may stand behind: which one it is, a spelling, or a hash, which leads whoever has a list back to the others.
_BEHIND = _set(
    "hash hashed md sha lower lowercase lowercased normalized raw clean e text primary secondary main other work "
    "home business personal private legal value values string str formatted format en de fr es completo completa "
    "complet electronico electronica electronique"
)
# A yes or no, or a count, of what follows.
_ABOUT = _set(
    "has have is was are can may no not wants want allow allows allowed send sends sent enable enabled "
    "disable accepts receive receives opt opted subscribed unsubscribed count num total"
)
_EMAIL = _set("email emails mail mails gmail courriel courrier correo correos")
_BEHIND_EMAIL = _set("address addresses addr adress adresse adr id ids")
_EMAIL_BY_ADDRESS = ("emailaddress", "emailaddr", "mailaddress")
_EMAIL_ENDS = ("email", "emailid", *_EMAIL_BY_ADDRESS)
_NO_EMAIL = _set("voice direct junk spam")
_PHONE = _set(
    "phone phones telephone telephones msisdn landline cellphone telefon telefono telefone telefoon "
    "cellulare celular handynummer telefonnummer mobilnummer phonenumber phonenumbers phoneno phonenum "
    "telephonenumber mobilenumber mobileno cellnumber mobilephone whatsapp fax faxnumber tel movil"
)
_NO_PHONE = _set("smart head micro ear")
# Of these only with a number behind them, or alone.
_PHONE_IF_NUMBER = _set("mobile cell contact sms handy cellular work home")
_NUMBER = _set("number numbers no num nr nos nums")
_ALONE = _set("mobile cell cellular sms handy")
_PERSON = _set(
    "first last full middle given family sur fore nick display user legal real maiden birth christian "
    "preferred login customer client contact member person people profile owner holder subscriber patient "
    "employee guest buyer recipient passenger traveler traveller student lead parent father mother child "
    "spouse partner manager own my your shopper visitor participant billing shipping cardholder"
)
_NAME_WORDS = frozenset(f"{person}name{end}" for person in _PERSON for end in ("", "s")) | _set(
    "fname lname mname vorname nachname familienname prenom apellido apellidos sobrenome cognome initials"
)
_NAME = _set("name names nom nombre nome naam namn imie")
_NAME_PARTS = _set("first last full middle given family")
_OTHER_SCRIPTS = re.compile(
    "メール|電話|氏名|名前|姓名|邮箱|郵件|邮件|电话|手机|手機|이메일|전화|이름|почта|телефон|фамилия|имя"
)


def is_personal(name: str) -> bool:
    """Return whether a property of this name holds e-mail addresses, or names or phone numbers of people."""
    plain = unicodedata.normalize("NFKC", INVISIBLE.sub("", name))
    if _OTHER_SCRIPTS.search(plain.lower()):
        return True
    words = _words(plain)
    while words and (words[-1].isdecimal() or words[-1] in _BEHIND):
        words.pop()
    if not words or (len(words) > 1 and words[0] in _ABOUT):
        return False
    return _is_email(words) or _is_phone(words) or _is_name(words)


def _words(text: str) -> list[str]:
    """Return the words of a name in small letters, without accents."""
    bare = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    words: list[str] = [word.lower() for word in _WORD.findall(_NEW_WORD.sub(" ", bare))]
    joined: str = " ".join(words).replace("whats app", "whatsapp")
    return joined.split()


def _is_email(words: list[str]) -> bool:
    kept = words[:-1] if len(words) > 1 and words[-1] in _BEHIND_EMAIL else words
    before = kept[-2] if len(kept) > 1 else ""
    if kept[-1] in _EMAIL:
        return before not in _NO_EMAIL
    if "".join(words).endswith(_EMAIL_BY_ADDRESS):  # wherever capitals seem to set words apart
        return True
    return words[-1].endswith(_EMAIL_ENDS) and not words[-1].endswith("voicemail")


def _is_phone(words: list[str]) -> bool:
    is_number = len(words) > 1 and words[-1] in _NUMBER
    kept = words[:-1] if is_number else words
    before = kept[-2] if len(kept) > 1 else ""
    if kept[-1] in _PHONE and before not in _NO_PHONE:
        return True
    if kept[-1] in _PHONE_IF_NUMBER and is_number:
        return True
    return kept[-1] in _ALONE and (len(kept) == 1 or before in _PERSON)


def _is_name(words: list[str]) -> bool:
    if words[-1] in _NAME_WORDS:
        return True
    if len(words) > 1 and words[-2] in _NAME and words[-1] in _NAME_PARTS:
        return True
    return words[-1] in _NAME and (len(words) == 1 or words[-2] in _PERSON)


def require_impersonal(name: str, field: str) -> None:
    """Refuse a property that holds what may not leave Mixpanel. Raises SettingsError naming the field."""
    if is_personal(name):
        raise SettingsError(
            f"{field}: {name} holds e-mail addresses, names or phone numbers, which are never asked for.",
            advice="Choose a property that holds an id, such as one that your own systems give people.",
        )
