"""Pictures in a result: base64 PNG anywhere in it, or the names of PNG files in the run's folder."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from atoll.cli.amounts import counted
from atoll.cli.display.drawer import Drawer, inside
from atoll.cli.display.page import Page
from atoll.cli.escape import escape

#: Pictures of one result.
PICTURES_MAX = 500
#: Pictures whose paths are printed; the page shows the rest.
_PRINTED_MAX = 12
#: Bytes of one picture. A brain map at print size is some hundred thousand.
_PICTURE_BYTES_MAX = 64 * 1024 * 1024
#: Items of one list or object that are looked at. Pictures stand among few neighbours; numbers
#: come by the million.
_ITEMS_MAX = 10_000
_DEPTH_MAX = 20

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PREFIX = "data:image/png;base64,"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture of a result: its bytes, or the file that holds them."""

    #: The keys that lead to it.
    names: tuple[str, ...]
    #: Empty where `path` has them.
    content: bytes = b""
    path: Path | None = None


def decoded(text: str) -> bytes | None:
    """The bytes of a base64 PNG, with or without its ``data:`` prefix; None for anything else."""
    text = text.strip()
    if text[: len(_PREFIX)].lower() == _PREFIX:
        text = text[len(_PREFIX) :]
    # 11 characters of base64 hold the signature's 8 bytes.
    if not text.startswith("iVBORw0KGg") or len(text) * 3 // 4 > _PICTURE_BYTES_MAX:
        return None
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    return content if content.startswith(_SIGNATURE) else None


def find(value: Any, *, folder: Path) -> Iterator[Picture]:
    """The pictures in a value, in its order."""
    for names, text in _texts(value, names=()):
        content = decoded(text)
        if content is not None:
            yield Picture(names=names, content=content)
        elif text[-4:].lower() == ".png" and len(text) < 1024:
            path = inside(folder, text)
            if path is not None:
                yield Picture(names=(*names, Path(text).stem), path=path)


def show_pictures(page: Page, drawer: Drawer, value: Any, *, folder: Path) -> bool:
    """Write the pictures of a value into the drawer and print where they are.

    Returns:
        Whether there was any.

    Raises:
        OSError: the drawer can't be written to.
    """
    printed = found = 0
    for found, picture in enumerate(find(value, folder=folder), start=1):
        if found > PICTURES_MAX:
            page.remark(f"… only the first {counted(PICTURES_MAX, 'picture')} are shown")
            break
        caption = " · ".join(picture.names) or "picture"
        name = "-".join(picture.names) or "picture"
        if picture.path is None or not picture.path.is_relative_to(drawer.folder.resolve()):
            content = picture.content or (picture.path.read_bytes() if picture.path else b"")
            if not content.startswith(_SIGNATURE):
                page.remark(f"{escape(caption)} isn't a PNG file and is not shown")
                continue
            path = drawer.put(name, ".png", content, caption=caption)
        else:
            path = picture.path
        if printed < _PRINTED_MAX:
            page.path(path, caption)
        printed += 1
    if printed > _PRINTED_MAX:
        page.remark(f"… {counted(printed - _PRINTED_MAX, 'more picture')} in {drawer.folder}")
    return found > 0


def _texts(value: Any, *, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, str):
        yield names, value
    elif len(names) >= _DEPTH_MAX:
        return
    elif isinstance(value, Mapping):
        for key, item in islice(value.items(), _ITEMS_MAX):
            yield from _texts(item, names=(*names, str(key)))
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for number, item in enumerate(islice(value, _ITEMS_MAX)):
            yield from _texts(item, names=(*names, str(number)))
