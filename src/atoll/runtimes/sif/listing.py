"""What ``unsquashfs`` lists of an image, read as it comes and kept in part.

Whoever has written the image has written the list: it is counted, and given up where it is longer than
that of any image which is run here. A name may hold a line's end, and so look like another entry; it
only adds to what is counted, and a link that isn't there leads to nothing.
"""

from __future__ import annotations

import os
import re

from atoll.engine.limits import (
    ROOT_BYTES_MAX,
    ROOT_FILES_MAX,
    ROOT_LINE_BYTES_MAX,
    ROOT_LINKS_BYTES_MAX,
    ROOT_LIST_BYTES_MAX,
)
from atoll.model.errors import LimitReached

#: A line: the kind, the mode, whose it is, and the size; and what a link's says behind that.
_LISTED = re.compile(rb"([-dlcbps])[-rwxsStTlL]{9} \d+/\d+ +(\d+)[, ]")
_LISTED_LINK = re.compile(rb"l\S+ \d+/\d+ +\d+ \S+ \S+ squashfs-root(/.+) -> (.+)")


class Listing:
    """The entries of a list, counted.

    Args:
        name: what the image is called.
        keep_links: whether its links are kept, too.
    """

    def __init__(self, name: str, *, keep_links: bool = False) -> None:
        self._name = name
        self._keep_links = keep_links
        self._rest = b""
        self._list_bytes = 0
        self._links_bytes = 0
        #: How many entries there are.
        self.files = 0
        #: What the files hold, all together.
        self.size_bytes = 0
        #: Where links lead, by their absolute paths.
        self.links: dict[str, str] = {}

    def take(self, piece: bytes) -> None:
        """Read on. The list ends with the end of a line.

        Raises:
            LimitReached: the image has more files, or larger ones, or longer names, than an image may have.
        """
        self._list_bytes += len(piece)
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self._enter(line)
        for number, most, what in (
            (self.files, ROOT_FILES_MAX, "files"),
            (self.size_bytes, ROOT_BYTES_MAX, "bytes"),
            (self._list_bytes, ROOT_LIST_BYTES_MAX, "bytes of names"),
            (len(self._rest), ROOT_LINE_BYTES_MAX, "bytes of one name"),
            (self._links_bytes, ROOT_LINKS_BYTES_MAX, "bytes of links"),
        ):
            if number > most:
                raise LimitReached(
                    f"the image {self._name} would become {number} {what}, and {most} is the most that is "
                    "unpacked from one"
                )

    def _enter(self, line: bytes) -> None:
        found = _LISTED.match(line)
        if found is None:
            return
        self.files += 1
        if found[1] == b"-":
            self.size_bytes += int(found[2])
        elif found[1] == b"l" and self._keep_links and (link := _LISTED_LINK.match(line)) is not None:
            self._links_bytes += len(link[1]) + len(link[2])
            self.links[os.fsdecode(link[1])] = os.fsdecode(link[2])
