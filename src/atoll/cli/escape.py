"""Makes text from results, sites and warnings harmless to a terminal, a page and a person.

Results are written by algorithms that nobody here has read. A terminal obeys control
characters in what it prints; a reader is misled by characters that turn the direction of
text. Both become visible escapes such as ``\\x1b``. Rich's markup needs no care beyond this:
whatever comes from outside is printed as `rich.text.Text`, in which markup means nothing.
"""

from __future__ import annotations

import re

#: Control characters, marks of direction, line separators, invisible tags, lone surrogates
#: (which no encoding can print) and code points that no XML document may hold.
_HARMFUL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escape(text: str, *, keep_lines: bool = False) -> str:
    """The text with harmful characters as visible escapes.

    Args:
        text: what somebody else wrote.
        keep_lines: leave line ends as they are, and turn tabs into spaces.
    """
    if keep_lines:
        text = text.replace("\r\n", "\n").replace("\t", "    ")
    return _HARMFUL.sub(lambda match: _shown(match[0], keep_lines=keep_lines), text)


def fitted(name: str, characters_max: int) -> str:
    """The escaped name; of a long one the middle is left out, as many begin alike."""
    # Each character is one at least: no more of a name than this is ever shown.
    if len(name) > 2 * characters_max:
        name = name[:characters_max] + name[-characters_max:]
    name = escape(name)
    if len(name) <= characters_max:
        return name
    end = characters_max // 2
    return f"{name[: characters_max - end - 1]}…{name[-end:]}"


def _shown(character: str, *, keep_lines: bool) -> str:
    if character == "\n" and keep_lines:
        return character
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    return f"\\x{code:02x}" if code < 0x7F else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
