"""The folder ``display/`` of a run: pictures, plots, and one page that shows them.

Names come from an algorithm's keys. A file is written under a name of plain letters, never
through a link, and never outside the folder.
"""

from __future__ import annotations

import html
import os
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from atoll.cli.escape import escape

#: Characters of a name without its ending. File systems allow 255 bytes; people read fewer.
_NAME_CHARACTERS_MAX = 80
_UNPLAIN = re.compile(r"[^A-Za-z0-9._-]+")
#: Names that Windows keeps for devices, whatever their ending.
_DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{number}" for port in ("com", "lpt") for number in range(10)),
}

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="script-src 'none'; object-src 'none'; base-uri 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 2.5rem auto; max-width: 60rem; padding: 0 1.5rem; color: #1f2933; background: #fff;
        font: 16px/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.5rem; font-weight: 600; }}
figure {{ margin: 2.5rem 0; }}
figcaption {{ margin-bottom: .5rem; color: #52606d; }}
img {{ max-width: 100%; height: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
{figures}
</body>
</html>
"""
_FIGURE = (
    '<figure><figcaption>{caption}</figcaption><img src="{name}" alt="{caption}" loading="lazy"></figure>'
)


@dataclass(slots=True, kw_only=True)
class Drawer:
    """Writes files into one folder, each under a name of its own."""

    #: The folder ``display/`` or one in it; made when the first file is written.
    folder: Path
    #: What was written, in order.
    paths: list[Path] = field(default_factory=list)
    _figures: list[tuple[str, str]] = field(default_factory=list)

    def put(self, name: str, ending: str, content: bytes, *, caption: str) -> Path:
        """Write a picture and keep it for the page.

        Args:
            name: what it is called; made plain.
            ending: ``.png`` or ``.svg``.
            content: the file's bytes.
            caption: what stands above it on the page.

        Raises:
            OSError: the folder can't be written to, or ``display/`` is a link.
        """
        path = self._free(plain_name(name), ending)
        self._write(path, content)
        self._figures.append((path.name, caption))
        return path

    def close(self, title: str) -> Path | None:
        """Write the page that shows every picture, if there is any.

        Raises:
            OSError: as for `put`.
        """
        if not self._figures:
            return None
        figures = [
            _FIGURE.format(name=html.escape(name), caption=_escaped(text)) for name, text in self._figures
        ]
        text = _PAGE.format(title=_escaped(title), figures="\n".join(figures))
        path = self.folder / "index.html"
        self._write(path, text.encode())
        return path

    def _free(self, stem: str, ending: str) -> Path:
        # Compared without regard to case: so do macOS and Windows.
        taken = {path.name.lower() for path in self.paths}
        number, name = 1, f"{stem}{ending}"
        while name.lower() in taken:
            number += 1
            name = f"{stem}-{number}{ending}"
        return self.folder / name

    def _write(self, path: Path, content: bytes) -> None:
        if self.folder.is_symlink() or (
            self.folder.parent.name == "display" and self.folder.parent.is_symlink()
        ):
            raise NotADirectoryError(f"{self.folder} is a link; expected a folder of this run")
        self.folder.mkdir(parents=True, exist_ok=True)
        # A new file that takes the name at the end: a link under this name is replaced, not followed.
        handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        self.paths.append(path)


def plain_name(name: str) -> str:
    """The name with nothing in it but letters, digits, dots, dashes and underscores."""
    plain = _UNPLAIN.sub("-", name[: 4 * _NAME_CHARACTERS_MAX])
    plain = (
        re.sub(r"-{2,}", "-", re.sub(r"\.{2,}", "-", plain)).strip(".-")[:_NAME_CHARACTERS_MAX].rstrip(".-")
    )
    return f"{plain or 'picture'}-" if plain.partition(".")[0].lower() in _DEVICES else plain or "picture"


def inside(folder: Path, name: str) -> Path | None:
    """The existing file of this name in a folder; None where there is none, or it lies elsewhere."""
    try:
        path = (folder / name).resolve(strict=True)
        return path if path.is_file() and path.is_relative_to(folder.resolve()) else None
    except (OSError, ValueError, RuntimeError):
        return None


def _escaped(text: str) -> str:
    return html.escape(escape(text))
