"""Which file is meant by an image's name, in a folder of images."""

from __future__ import annotations

from pathlib import Path

from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes.sif.layout import is_image

#: How files of images end, where they say it.
_ENDINGS = (".sif", ".simg", ".sqsh", ".squashfs", ".img")


def find_image(folder: Path, name: str) -> Path:
    """The file of an image in a folder, as COINSTAC looks for it: by a part of its name.

    A slash in the image's name is an underscore in the file's: ``coinstac/ridge`` may be
    ``coinstac_ridge.sif``, or ``coinstac_ridge_latest.sif``. The file with the shortest name is taken.

    Args:
        folder: where images are kept.
        name: of the image, as a container engine would know it, or of a file.

    Raises:
        RuntimeUnavailable: none is there.
    """
    found = sorted(folder.iterdir(), key=lambda path: (len(path.name), path.name)) if folder.is_dir() else []
    for path in found:
        if path.name == name:  # A name is never a path: it may come from far away, and lead anywhere.
            return path
    images = [path for path in found if path.suffix in _ENDINGS or is_image(path) or _is_root(path)]
    for wanted in dict.fromkeys(
        (name.replace("/", "_"), _plain(name), _plain(name.rpartition(":")[0] or name))
    ):
        for path in images:
            if any(map(str.isalnum, wanted)) and wanted in path.name:
                return path
    raise RuntimeUnavailable(
        f"no image {name!r} is in {folder}: expected a file whose name contains {name.replace('/', '_')!r}, such as "
        f"{_plain(name)}.sif. There {'is' if len(images) == 1 else 'are'} "
        f"{', '.join(path.name for path in images[:10]) or 'no images'}"
    )


def _plain(name: str) -> str:
    """As Apptainer calls the file that it pulls."""
    return name.replace("/", "_").replace(":", "_")


def _is_root(path: Path) -> bool:
    return (path / ".singularity.d").is_dir() or ((path / "usr").is_dir() and (path / "etc").is_dir())
