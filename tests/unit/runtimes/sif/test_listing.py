"""What is listed of an image is counted, however it arrives, and only as far as anybody needs it."""

from __future__ import annotations

import pytest

from atoll.model.errors import LimitReached
from atoll.runtimes.sif import listing
from atoll.runtimes.sif.listing import Listing

LIST = b"""drwxr-xr-x 0/0 39 2026-01-01 00:00 squashfs-root
-rwxr-xr-x 0/0      1000 2026-01-01 00:00 squashfs-root/a file -> b
crw-rw-rw- 0/0     1,  3 2026-01-01 00:00 squashfs-root/null
lrwxrwxrwx 0/0         7 2026-01-01 00:00 squashfs-root/bin -> usr/bin
what a name says behind its line's end
-rw-r--r-- 5/5        24 2026-01-01 00:00 squashfs-root/other
"""


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_entries_are_counted_in_whatever_pieces_they_come(size: int) -> None:
    found = Listing("mean.sif", keep_links=True)
    for start in range(0, len(LIST), size):
        found.take(LIST[start : start + size])

    assert (found.files, found.size_bytes, found.links) == (5, 1024, {"/bin": "usr/bin"})


def test_links_are_kept_only_where_they_are_wanted() -> None:
    found = Listing("mean.sif")
    found.take(LIST)

    assert (found.files, found.links) == (5, {})


@pytest.mark.parametrize(
    ("bound", "most", "words"),
    [
        ("ROOT_FILES_MAX", 4, "5 files, and 4"),
        ("ROOT_BYTES_MAX", 1_023, "1024 bytes, and 1023"),
        ("ROOT_LIST_BYTES_MAX", 100, f"{len(LIST) + 4} bytes of names, and 100"),
        ("ROOT_LINE_BYTES_MAX", 3, "4 bytes of one name, and 3"),
        ("ROOT_LINKS_BYTES_MAX", 10, "11 bytes of links, and 10"),
    ],
)
def test_no_list_is_read_for_ever(monkeypatch: pytest.MonkeyPatch, bound: str, most: int, words: str) -> None:
    monkeypatch.setattr(listing, bound, most)

    with pytest.raises(LimitReached, match=f"the image mean.sif would become {words} is the most"):
        Listing("mean.sif", keep_links=True).take(LIST + b"more")
