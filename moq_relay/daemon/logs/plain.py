"""Text that somebody else chose, as an operator may see it: what it says, and nothing it does."""

import re
import unicodedata

LONGEST = 120
"""Characters of a name in a table; the whole name is in the JSON."""

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of what speaks to the terminal, turns the text around, or shows nothing."""
_PRINTABLE = re.compile(r"[\x20-\x7e]*")


def plain(text: str) -> str:
    """``text`` with an escape for each character that is not simply shown."""
    if _PRINTABLE.fullmatch(text):
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _INVISIBLE else c for c in text)


def short(text: str) -> str:
    """The same, with a gap where it would be longer than a line should be."""
    shown = plain(text)
    if len(shown) <= LONGEST:
        return shown
    half = LONGEST // 2 - 1
    return f"{shown[:half]} … {shown[-half:]}"


def _escaped(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
