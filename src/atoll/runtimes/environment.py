"""The environment that an algorithm gets: little, and nothing by accident."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

#: Settings of numeric libraries that hold for everything on this machine.
_NUMERIC = ("OPENBLAS_", "OMP_", "MKL_", "NUMEXPR_")
#: What libraries or the interpreter read when they are imported. Calls whose environments
#: differ in one of these can't have the same parent.
_READ_AT_IMPORT = (
    *_NUMERIC,
    *("PYTHON", "LANG", "LC_", "LD_", "GOTO_", "BLIS_", "KMP_", "GOMP_", "NUMBA_", "MPL", "JOBLIB_"),
    *("TF_", "CUDA_", "NVIDIA_", "TORCH_", "PYTORCH_", "JAX_", "XLA_"),
)
#: Where a system's programs lie.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def isolated(python: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """The environment inside a sandbox."""
    return {
        **numeric(),
        "PATH": f"{python.parent}:{SYSTEM_PATH}",
        "HOME": "/tmp",  # noqa: S108 -- the sandbox's own
        "LANG": os.environ.get("LANG") or "C.UTF-8",
        "TMPDIR": "/tmp",  # noqa: S108 -- the sandbox's own
        **extra,
    }


def shared(python: Path, temporary: Path | None, extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that shares this machine; without a folder, of a warm parent."""
    folder = str(temporary or "/tmp")  # noqa: S108 -- nothing is kept there
    return {
        **numeric(),
        "PATH": f"{python.parent}:{os.environ.get('PATH') or SYSTEM_PATH}",
        "HOME": os.environ.get("HOME") or folder,
        "LANG": os.environ.get("LANG") or "C.UTF-8",
        "TMPDIR": folder,
        **extra,
    }


def image_cache() -> Path:
    """Where images that are files lie unpacked, for whoever has no workspace of his own."""
    folder = os.environ.get("XDG_CACHE_HOME")
    return (Path(folder) if folder else Path.home() / ".cache") / "atoll" / "images"


def named_engine() -> tuple[Path | None, Path]:
    """The socket of a container engine that this environment names, and the folder where a user's own lie."""
    named = os.environ.get("DOCKER_HOST") or os.environ.get("CONTAINER_HOST") or ""
    folder = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return Path(named.removeprefix("unix://")) if named.startswith("unix://") else None, Path(folder)


def bare() -> dict[str, str]:
    """What an interpreter needs to tell of itself."""
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


def read_at_import(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that a warm parent must have from its start."""
    return {name: value for name, value in sorted(environment.items()) if name.startswith(_READ_AT_IMPORT)}


def numeric() -> dict[str, str]:
    """Settings of numeric libraries that hold for everything on this machine."""
    return {name: value for name, value in os.environ.items() if name.startswith(_NUMERIC)}
