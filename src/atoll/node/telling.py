"""What a site tells of a call that failed: the kind of the error and the lines of code, and no value.

What an algorithm writes to its log may quote its data. So only an error's first line leaves the
site, and of a traceback the places and the type. The rest stays in the site's log.
"""

from __future__ import annotations

from atoll.dialects.vantage6.failing import last_traceback
from atoll.model.errors import AtollError

#: What an error says before it quotes a log.
_QUOTES = " The end of its standard error:"


def frames_only(error: AtollError) -> str:
    """An error's sentence, without what it quotes of a log."""
    first, _, rest = str(error).partition("\n")
    if not rest:
        return first
    first = first.removesuffix(_QUOTES).rstrip(":.")
    found = last_traceback(rest)
    if found is None:
        return f"{first}. What it wrote is in this site's log"
    own = [frame for frame in found.frames if not frame.installed] or list(found.frames[-1:])
    places = ", ".join(frame.shown("").rpartition("/")[2] for frame in own[-3:])
    return (
        f"{first}, with {found.type}{f' ({places})' if places else ''}. What it wrote is in this site's log"
    )
