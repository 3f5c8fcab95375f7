"""What a sandboxed algorithm sees of this machine: a list, from which every sandbox is made.

A line of the list is a kind, a source and a target:

======  ==========================================================================
folder  an empty folder
link    a symbolic link; the source is what it says
text    a small file; the source is its content
proc    a private /proc
memory  a folder in memory; the source is its options
cover   an empty folder over one that must not be seen
blank   an empty file over one that must not be seen
read    a file or folder of this machine, read-only with all that is mounted beneath it
write   the same, writable
device  a device
======  ==========================================================================

The same list is carried out by bubblewrap for a cold start and by ``guest/cell.py`` for a
forked one. Nothing that isn't in the list is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from atoll.engine.running import Launch, Mount, Outlet
from atoll.model.errors import AlgorithmFailed
from atoll.runtimes.command import CODE, code_at, code_of
from atoll.runtimes.interpreter import SYSTEM, Interpreter, within_any

Line = tuple[str, str, str]

TEMPORARY = "/tmp"  # noqa: S108 -- the sandbox's own
#: Where the guest programs appear, and the module that served processes import.
GUEST = "/run/atoll/lib"
SERVED = "/run/atoll/serve"
#: Where the packages appear that Atoll lends to an algorithm.
MODULES = "/run/atoll/modules"
#: Where a warm parent has the folders from which sandboxes are made.
HOST = "/run/atoll/host"
#: Where a warm parent puts a sandbox together.
ROOT = "/run/atoll/root"

#: Parts of /proc that are one for the whole machine. A process whose user is the machine's
#: root may write some of them without any capability.
PROC_READ_ONLY = ("acpi", "asound", "bus", "fs", "irq", "scsi", "sys", "sysrq-trigger")
PROC_HIDDEN = ("kcore", "keys", "kmsg", "latency_stats", "sched_debug", "timer_list")

_PROGRAMS = Path(__file__).parent / "guest"

#: Files and folders of /etc that libraries need and that say nothing of this machine's people
#: and networks. Users, groups and hosts are made up instead.
_ETC = (
    "alternatives ca-certificates ca-certificates.conf debian_version fonts group.d ld.so.cache ld.so.conf "
    "ld.so.conf.d ld-musl-x86_64.path locale.alias localtime mime.types nsswitch.conf os-release pki/tls "
    "pki/ca-trust protocols services ssl/certs ssl/openssl.cnf ssl/cert.pem timezone R python3"
).split()
_HOSTS_FILE, _HOSTS = "/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def base() -> Sequence[Line]:
    """The system: the same for every seat."""
    return _base(SYSTEM, os.geteuid(), os.getegid())


@cache  # A machine's own folders don't come and go while a program runs.
def _base(system: tuple[str, ...], user: int, group: int) -> Sequence[Line]:
    return tuple(_look_at(system, user, group))


def _look_at(system: tuple[str, ...], user: int, group: int) -> Iterator[Line]:
    yield "folder", "", "/run"
    for path in system:
        if os.path.islink(path):
            yield "link", os.readlink(path), path
        elif os.path.isdir(path):
            yield "read", path, path
    for name in _ETC:
        path = f"/etc/{name}"
        if os.path.exists(path):
            yield "read", os.path.realpath(path), path
    yield "text", f"algorithm:x:{user}:{group}:algorithm:{TEMPORARY}:/bin/sh\n", "/etc/passwd"
    yield "text", f"algorithm:x:{group}:\n", "/etc/group"
    yield "text", _HOSTS, _HOSTS_FILE
    yield from machine()


def machine() -> Iterator[Line]:
    """What is the kernel's: a few devices, shared memory, and a /proc of its own."""
    yield "folder", "", "/dev"
    for name in _DEVICES:
        if os.path.exists(f"/dev/{name}"):
            yield "device", f"/dev/{name}", f"/dev/{name}"
    yield "memory", "mode=1777", "/dev/shm"  # noqa: S108 -- the sandbox's own
    for name, number in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        yield "link", f"/proc/self/fd{number}", f"/dev/{name}"
    yield "proc", "", "/proc"


def programs(interpreter: Interpreter) -> Iterator[Line]:
    """The interpreter at the very path where it lies, and the guest programs."""
    for folder in interpreter.folders:
        yield "read", str(folder), str(folder)
    for link, target in interpreter.links:
        yield "link", target, str(link)
    yield from guests()


def guests() -> Iterator[Line]:
    """The guest programs, and the module that served processes import."""
    yield "read", str(_PROGRAMS), f"{GUEST}/guest"
    yield "read", str(_PROGRAMS / "coinstac"), f"{SERVED}/coinstac"


def lent(modules: Iterable[Path]) -> Iterator[Line]:
    """Packages that an algorithm may import, each by itself: nothing of what lies beside it."""
    for module in modules:
        yield "read", os.path.realpath(module), f"{MODULES}/{module.name}"


def parents(interpreter: Interpreter, roots: Sequence[Path], modules: Iterable[Path]) -> list[Line]:
    """What a warm parent sees: no seat's folder under a name that its libraries know."""
    return [
        *base(),
        ("memory", "mode=1777", TEMPORARY),
        *programs(interpreter),
        *lent(modules),
        *_hides(interpreter, roots),
        ("folder", "", ROOT),
        *(("write", str(root), f"{HOST}{root}") for root in _outermost(roots)),
    ]


def seats(
    launch: Launch, interpreter: Interpreter, roots: Sequence[Path], *, within_parent: bool = False
) -> list[Line]:
    """What an algorithm sees at a seat.

    Args:
        launch: its folders.
        interpreter: what runs it.
        roots: folders of this machine that hold seats' folders.
        within_parent: whether a warm parent carries the list out, from what it sees itself.

    Raises:
        AlgorithmFailed: a folder can't be shown where it is asked for.
    """
    code = Path(os.path.realpath(code_of(launch)))
    translate = _at_parent if within_parent else str
    system = [_named(line, launch.outlets) for line in base()]
    tools = [*programs(interpreter), *lent(launch.modules)]
    if within_parent:  # which has all these at their targets
        system = [
            (kind, target if kind in ("read", "device") else source, target)
            for kind, source, target in system
        ]
        tools = [(kind, target if kind == "read" else source, target) for kind, source, target in tools]
    lines = [
        *system,
        ("write", translate(Path(os.path.realpath(launch.temporary))), TEMPORARY),
        *tools,
        *_hides(interpreter, [*roots, *(code / part for part in launch.masked), *_sources(launch)], code),
        *_code(launch, translate),
        *masks(launch, roots),
    ]
    for mount in launch.mounts:
        lines.append(_mounted(mount, launch, lines, translate))
    return lines


def _named(line: Line, outlets: Iterable[Outlet]) -> Line:
    """The line of the base with the names by which outlets are found, where it is the one for names."""
    if line[2] != _HOSTS_FILE:
        return line
    return "text", hosts(outlets), _HOSTS_FILE


def hosts(outlets: Iterable[Outlet]) -> str:
    """What an algorithm's /etc/hosts says: its own loopback, and the names of outlets."""
    return _HOSTS + "".join(f"{outlet.host} {outlet.alias}\n" for outlet in outlets if outlet.alias)


def _code(launch: Launch, translate: Callable[[Path], str]) -> Iterator[Line]:
    if launch.code_name is not None:
        yield "folder", "", CODE
    yield "read", translate(Path(os.path.realpath(code_of(launch)))), code_at(launch)


def _at_parent(path: Path) -> str:
    return f"{HOST}{path}"


def shown(mount: Mount) -> tuple[Path, str]:
    """What of this machine a mount shows, without links in its path, and where.

    Raises:
        AlgorithmFailed: it isn't there, or its place is none.
    """
    source = Path(os.path.realpath(mount.source))
    target = os.path.normpath(mount.target)
    if not target.startswith("/") or target == "/":
        raise AlgorithmFailed(
            f"a folder can't be shown to the algorithm at {mount.target!r}: expected an absolute path"
        )
    if not source.exists():
        raise AlgorithmFailed(
            f"{str(mount.source)!r} can't be shown to the algorithm: there is no such file or folder"
        )
    return source, target


def masked(launch: Launch, beside: Iterable[Path] = ()) -> Iterator[tuple[Path, str]]:
    """What of an algorithm's folder it must not see, without links in its path, and where it would be seen.

    A link that leads out of the folder is none of it: what it names was never there.

    Args:
        launch: names it.
        beside: further paths of this machine, of which those within the folder count.
    """
    if launch.code is None:
        return
    code = Path(os.path.realpath(launch.code))
    for part in (*map(Path, launch.masked), *beside):
        real = Path(os.path.realpath(code / part))
        if code in real.parents and real.exists():
            yield real, f"{code_at(launch)}/{real.relative_to(code)}"


def masks(launch: Launch, beside: Iterable[Path] = ()) -> Iterator[Line]:
    """Covers over what of an algorithm's folder it must not see; see `masked`."""
    for real, inside in masked(launch, beside):
        yield "cover" if real.is_dir() else "blank", "", inside


def _mounted(mount: Mount, launch: Launch, lines: Sequence[Line], translate: Callable[[Path], str]) -> Line:
    source, target = shown(mount)
    if target.startswith((at := code_at(launch)) + "/"):
        # The code is somebody's folder: no point to mount on may be made in it.
        covered = any(kind == "cover" and (target + "/").startswith(point + "/") for kind, _, point in lines)
        if not covered and not (code_of(launch) / target.removeprefix(at + "/")).exists():
            raise AlgorithmFailed(
                f"nothing can be shown to the algorithm at {mount.target!r}: its folder has no such file or folder"
            )
    return ("write" if mount.writable else "read"), translate(source), target


def _hides(interpreter: Interpreter, paths: Iterable[Path], code: Path | None = None) -> Iterator[Line]:
    """Covers over seats' folders that lie where the system's or the interpreter's own are shown.

    So where an author's environment has the computation's folder on its import path, its test
    data stays hidden under that path too. A folder that holds the interpreter, or the code
    itself, can't be covered: the algorithm may see those.
    """
    shown = [*interpreter.folders, *_real(SYSTEM)]
    needed = [*shown, *interpreter.libraries, interpreter.executable, *([code] if code else [])]
    for path in dict.fromkeys(Path(os.path.realpath(path)) for path in paths):
        if within_any(path, shown) and not any(within_any(each, [path]) for each in needed):
            if path.is_dir():
                yield "cover", "", str(path)
            elif path.exists():
                yield "blank", "", str(path)


@cache  # As above.
def _real(folders: tuple[str, ...]) -> Sequence[Path]:
    return tuple(Path(os.path.realpath(folder)) for folder in folders)


def _sources(launch: Launch) -> list[Path]:
    return [launch.temporary, launch.log, *(mount.source for mount in launch.mounts)]


def _outermost(roots: Sequence[Path]) -> list[Path]:
    real = sorted({Path(os.path.realpath(root)) for root in roots}, key=lambda root: len(root.parts))
    kept: list[Path] = []
    for root in real:
        if root.exists() and not within_any(root, kept):
            kept.append(root)
    return kept
