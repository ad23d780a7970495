"""Ids that a spreadsheet, a table library or a program has ruined, as far as one alone shows it.

Whatever is found here may be somebody's true id all the same: a person decides, and no id is mended by guessing. What
cannot be seen of one id is not found, such as leading zeros that are gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum

from core.invisible import INVISIBLE, has_invisible_ends
from core.rules.matching import ANONYMOUS, DEVICE, IDENTIFIED


class Suspect(StrEnum):
    """What makes an id look like none. An id of such a kind is not written unless a person accepts the kind."""

    EXPONENT = "exponent"
    THOUSANDS = "thousands"
    SPREADSHEET_ERROR = "spreadsheet_error"
    EMPTY_MARKER = "empty_marker"
    TRUTH_VALUE = "truth_value"
    DATE = "date"
    QUOTATION_MARK = "quotation_mark"
    LOST_CHARACTER = "lost_character"
    PROGRAM_VALUE = "program_value"
    CUT_OFF = "cut_off"
    TABLE_LABEL = "table_label"
    INVISIBLE_ENDS = "invisible_ends"


class Warn(StrEnum):
    """What is worth a look, though the id is written."""

    DECIMAL_ZERO = "decimal_zero"
    DIGITS_LOST = "digits_lost"
    INVISIBLE_INSIDE = "invisible_inside"


# They are put before values that were ruined before; whoever puts one before an empty cell has an id of nothing else.
_PREFIXES = (IDENTIFIED, ANONYMOUS, DEVICE)

_MONTHS = (
    "jan(?:v|uary)?|feb(?:ruary)?|fév(?:r)?|fev|mar(?:ch|s)?|märz?|mrz|mrt|maa|apr(?:il)?|avr|abr|may|mai|mei|mag|maj|"
    "june?|jui[nl]|giu|july?|lug|aug(?:ust)?|août|aou|ago|sept?(?:ember)?|set|oct(?:ober)?|okt|ott|out|nov(?:ember)?|"
    "dec(?:ember)?|déc|dez|dic|des|ene|gen"
)
_DAY, _MONTH, _YEAR = r"(?:0?[1-9]|[12][0-9]|3[01])", rf"(?:{_MONTHS})\.?", r"(?:19|20)[0-9][0-9]"
# Only behind a day: in front of a number they are words of other languages.
_MORE_MONTHS = (
    "янв|февр?|март?|апр|ма[йя]|ию[нл][ья]?|авг|сент?|окт|нояб?|дек|"
    "sty|lut|kwi|maj|cze|lip|sie|wrz|paź|lis|gru|oca|şub|nis|haz|tem|ağu|eyl|eki|kas|ara"
)
_WEEKDAY = r"(?:mon|tue|wed|thu|fri|sat|sun)(?:(?:s|nes|rs|ur)?day)?"
_NUMBER = r"(?:0?[1-9]|1[0-2])"
_CLOCK = r"[0-2]?[0-9]:[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]+)?)?(?: ?[ap]\.?m\.?)?"
_TIME = rf"(?:[t ]{{1,2}}{_CLOCK}(?: ?(?:z|utc|(?:gmt)?[+-][0-9][0-9](?::?[0-9][0-9])?|gmt)(?: \(.*\))?)?)?"
_WORDS = r"null|nil|none|nan|nat|na|n/a|n\.a\.|undefined|void|inf|infinity"
_BRACKETED_WORDS = r"blank|empty|missing|not set|not available|leer|vide|vuoto|vac[íi]o|en blanco|em branco|leeg"
_TRUTHS = (
    "true|false|wahr|falsch|vrai|faux|verdadero|falso|vero|verdadeiro|waar|onwaar|prawda|fałsz|истина|ложь|"
    "doğru|yanl[ıi]ş"
)
_AMOUNT = r"(?:[0-9]{1,3}(?:[,.'’ \xa0\u202f][0-9]{3})+(?:[.,][0-9]{2})?|[0-9]+[.,][0-9]{2})"
# Of what follows the prefix, in small letters.
FORMS: dict[str, Sequence[str]] = {
    # Always one that has a fraction, a sign or a single digit: hexadecimal ids such as 12345e67 are none.
    Suspect.EXPONENT: (r"[+−-]?(?:[0-9]+[.,][0-9]+e[+−-]?[0-9]+|[0-9]+e[+−-][0-9]+|[0-9]e[0-9]{2,3})",),
    Suspect.THOUSANDS: (
        r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?",
        r"[+-]?[0-9]{1,3}(?:['’ \xa0\u202f][0-9]{3})+(?:[.,][0-9]+)?",
        r"[+-]?[0-9]{1,3}(?:\.[0-9]{3}){2,}(?:,[0-9]+)?",
        # As in India, as an amount of money, and below zero as accountants write it.
        r"[+-]?[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?:\.[0-9]+)?",
        rf"[+-]?[$€£¥₹] ?{_AMOUNT}|{_AMOUNT} ?[$€£¥₹]",
        r"\([0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?\)",
    ),
    Warn.DECIMAL_ZERO: (r"[+-]?[0-9]+[.,]0+",),
    Warn.DIGITS_LOST: (r"[+-]?[1-9][0-9]{14}0+",),
    # In the language of whoever saved the file: #N/A, #NV, #¡REF!, #Н/Д, ... A column that is too narrow shows ####.
    Suspect.SPREADSHEET_ERROR: (
        r"#[¡¿]?[^\W\d_][\w/ .]*[!?]",
        r"#[^\W\d_]{1,2}/[^\W\d_]{1,2}(?: n/a)?",
        r"#(?:n[av]|yok|hiányzik|není_k_dispozici|getting_data|#*)",
        r"err:[0-9]{3}",
        r"#?err(?:or)?|error 20(?:00|07|15|23|29|36|42)",
        # The same errors as programs read them from a file, by their numbers.
        r"-2146826(?:288|281|273|265|259|252|246)|0x(?:7|f|17|1d|24|2a)",
        r"[+-]?1\.#(?:qnan|snan|ind|inf)[0-9]*",
    ),
    Suspect.EMPTY_MARKER: (
        rf"[+-]?(?:{_WORDS})",
        rf"[<(\[{{](?:{_WORDS}|{_BRACKETED_WORDS})[>)\]}}]",
        r"\\n|\[object object\]|\[\]|\{\}|[-–—.?*_]+",
    ),
    Suspect.TRUTH_VALUE: (_TRUTHS,),
    Suspect.DATE: (
        rf"{_YEAR}(?:-{_NUMBER}-|/{_NUMBER}/|\.{_NUMBER}\.){_DAY}{_TIME}",
        rf"{_DAY}(?:-{_DAY}-|/{_DAY}/|\.{_DAY}\.)(?:{_YEAR}|[0-9][0-9]){_TIME}",
        rf"(?:{_WEEKDAY},? )?{_DAY}[-. /]{{1,2}}{_MONTH}(?:[-. /](?:{_YEAR}|[0-9][0-9]){_TIME})?",
        rf"{_DAY}[-. /]{{1,2}}(?:{_MORE_MONTHS})\.?(?:[-. /](?:{_YEAR}|[0-9][0-9]))?",
        rf"{_MONTH}[-. /](?:{_YEAR}|[0-9][0-9])",
        rf"(?:{_WEEKDAY},? )?{_MONTH} {_DAY},? {_YEAR}{_TIME}",
        r"[0-9]{1,3}:[0-5][0-9]:[0-5][0-9](?:[.,][0-9]+)?(?: ?[ap]m)?",
        r"[01]?[0-9]:[0-5][0-9] ?[ap]m",
        r"(?:[0-9]{4}年)?[0-9]{1,2}月(?:[0-9]{1,2}日)?",
    ),
    # As Python prints a text, and as our own files for spreadsheets hold what would be a formula.
    Suspect.QUOTATION_MARK: (r"""b?["'].*""",),
    # One value of a list, or a value with its type, as Python and other languages print them.
    Suspect.PROGRAM_VALUE: (
        r"""[\[({] ?b?["'].*[\])}]""",
        r"(?:(?:np|numpy|pd|datetime|uuid|decimal|bson)\.)?"
        r"(?:u?int[0-9]*|float[0-9]*|bool_?|str_?|bytes_|timestamp|timedelta|date(?:time)?|decimal|uuid|objectid)\(.*\)",
        r"<.* object at 0x[0-9a-f]+>|system\.(?:object|string|dbnull)(?:\[\])?|java\.[a-z.]+@[0-9a-f]+|dbnull",
    ),
    # The header once more, where files were put together, and what stands below the rows.
    Suspect.TABLE_LABEL: (
        r"\$?(?:mixpanel[_ ])?distinct[_ ]id|\$?(?:apptimize[_ ](?:user[_ ])?|user[_ ])id",
        r"(?:grand |sub)?total|gesamtergebnis|summe|\([0-9,]+ rows?\)",
    ),
}
_PREFIX = "|".join(map(re.escape, _PREFIXES))
_BY_NAME = "|".join(f"(?P<{name}>{'|'.join(forms)})" for name, forms in FORMS.items())
_RUINED = re.compile(rf"(?:{_BY_NAME})\Z")
# Nearly every id is none of them, which is seen ten times as fast by this: what it does not match, that does not.
_OTHER = r"[^\x00-\x7f]"
MAYBE_RUINED = re.compile(
    rf"(?:{_PREFIX})*+(?:"
    rf"[+-]?[0-9]++(?:(?<=[0-9]{{15}}0)\Z|{_OTHER}|"
    rf"[-.,:/+' eE][0-9.,:/+' eEtTzZ-]*+(?:\Z|[#$(]|{_OTHER}|[uU][tT][cC]|[gG][mM][tT]|[aApP]\.?[mM])|"
    rf"[-. /]{{1,2}}(?:[A-Za-z]{{3}}|[A-Za-z]{{0,2}}{_OTHER}))|"
    r"[A-Za-z][A-Za-z _]{1,24}\Z|[nN][./]|[eE][rR][rR]:|[bB][\"']|0[xX][0-9a-fA-F]{1,2}\Z|"
    r"[A-Za-z][\w.]*+\(|(?i:system|java)\.|[mMtTwWfFsS][A-Za-z]{2,8},? [0-9A-Za-z]|"
    rf"[aAdDeEfFgGjJlLmMnNoOsS][A-Za-z]{{2,8}}\.?[-. /][0-9 ,]{{2,12}}(?:\Z|[tT:])|[fFaAdDmMyY][A-Za-z]{{0,4}}{_OTHER}|"
    r"[^0-9A-Za-z]|\Z)"
)
# Stands for a character that a program could not read.
_LOST = "\ufffd"
# Of an id that is more than dots.
_CUT = ("...", "…")
_UNSEEN_OR_LOST = re.compile(f"{INVISIBLE.pattern}|{_LOST}")
_BEHIND_PREFIX = re.compile(rf"(?:{_PREFIX})*")


def may_be_suspect(one: str, other: str) -> bool:
    """Return whether one of two ids may be nothing but a prefix, or have suspicions: quick, and false for most."""
    if MAYBE_RUINED.match(one) or MAYBE_RUINED.match(other) or one.endswith(_CUT) or other.endswith(_CUT):
        return True
    return not (one.isascii() and other.isascii()) and bool(_UNSEEN_OR_LOST.search(f"{one} {other}"))


def bare(text: str) -> str:
    """Return an id without its prefix."""
    return text[_BEHIND_PREFIX.match(text).end() :]  # type: ignore[union-attr]


def find_suspicions(text: str) -> Iterator[str]:
    """Yield why an id looks like none (`Suspect`), and what else is worth a look (`Warn`)."""
    seen = text if text.isascii() else INVISIBLE.sub("", text)
    if MAYBE_RUINED.match(seen) and (match := _RUINED.match(bare(seen).lower())):
        yield match.lastgroup or ""
    elif seen.endswith(_CUT):
        yield Suspect.CUT_OFF
    if text.isascii():
        return
    if _LOST in text:
        yield Suspect.LOST_CHARACTER
    if has_invisible_ends(text) or has_invisible_ends(bare(text)):
        yield Suspect.INVISIBLE_ENDS
    elif seen != text:
        yield Warn.INVISIBLE_INSIDE
