"""A seat's sandbox, made by a warm parent that holds capabilities in a user namespace of its own.

::

    parent --fork--> init      process 1 of a new process namespace, new mounts, network, ipc;
       |               |       it enters a user namespace, gives up every capability, and waits
       |             (cell)
       \\----fork--> call      joins the cell's namespaces, gives up every capability, runs the script

A cell lives as long as its session; a call is one fork that joins it. Ending the init ends
every process of the cell, whatever it did.

Nothing here trusts what runs inside: a call has no capability in any namespace, can't get
one, and the folders of other seats were never mounted in its cell.
"""

# ruff: noqa: FA100, UP006, UP007, UP035, UP045 -- this runs on Python 3.8

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
from typing import Any, List, NoReturn, Optional

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 1, 2, 4, 8, 32
_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_RELATIME = 4096, 16384, 1 << 18, 1 << 21
#: The flags of a mount that `statvfs` reports under the same numbers as `mount` takes them.
_KEPT_FLAGS = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | 1024 | 2048
_ST_RELATIME = 4096
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8

_PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 4, 24, 38
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4

#: Where a parent has an empty folder on which a cell's root is put together.
ROOT = "/run/atoll/root"


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, "%s: %s" % (what, os.strerror(number)))


def mount(source: str, target: str, kind: Optional[str], flags: int, data: Optional[str] = None) -> None:
    """mount(2)."""
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind, data)]
    result = _libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3])
    _check(result, "mount %s" % (target,))


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(flags), "unshare %#x" % (flags,))


def setns(descriptor: int, kind: int) -> None:
    """setns(2)."""
    _check(_libc.setns(descriptor, kind), "setns %#x" % (kind,))


class Cell:
    """A cell as its parent sees it."""

    def __init__(self, pid: int, line: socket.socket) -> None:
        self.pid = pid
        #: To the init: one byte asks it to end all other processes, one byte answers.
        self.line = line
        kinds = (("mnt", CLONE_NEWNS), ("ipc", CLONE_NEWIPC), ("net", CLONE_NEWNET), ("uts", CLONE_NEWUTS))
        self._joined: List[List[int]] = []
        for name, kind in (*kinds, ("user", CLONE_NEWUSER)):
            self._joined.append([os.open("/proc/%d/ns/%s" % (pid, name), os.O_RDONLY | os.O_CLOEXEC), kind])
        self.processes = os.open("/proc/%d/ns/pid" % (pid,), os.O_RDONLY | os.O_CLOEXEC)

    def join_network(self) -> None:
        """Make this process one of the cell's network, with all capabilities that it has."""
        for descriptor, kind in self._joined:
            if kind == CLONE_NEWNET:
                setns(descriptor, kind)

    def enter(self) -> None:
        """Make this forked process one of the cell, for good."""
        for descriptor, kind in self._joined:
            setns(descriptor, kind)
        surrender()
        # A process that others may not look into can't open its own /proc/self either.
        _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)

    def close(self) -> None:
        """End the cell with everything in it."""
        self.forget()
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def forget(self) -> None:
        """Close what this process holds of the cell."""
        self.line.close()
        for descriptor, _ in self._joined:
            os.close(descriptor)
        os.close(self.processes)


def serve_init(task: Any, line: socket.socket) -> NoReturn:
    """Be process 1 of a cell: build it, tell the parent, then wait to end what is left of calls."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # orphans need no reaping then
        _build(task)
        surrender()
        _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # the script may not look into this process
    except BaseException as error:  # noqa: BLE001 -- the top of a process: it tells its parent
        line.sendall(("%s: %s" % (type(error).__name__, error)).encode("utf-8", "replace"))
        os._exit(1)
    line.sendall(b"built")
    while line.recv(1):
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            pass
        line.sendall(b"-")
    os._exit(0)


def surrender() -> None:
    """Give up every capability, and every way to get one again."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break  # the first number that this kernel doesn't know
    head = struct.pack("=Ii", 0x20080522, 0)  # version 3: 64 bits per set
    _check(_libc.capset(head, struct.pack("=6I", 0, 0, 0, 0, 0, 0)), "capset")


class _Filter(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("lines", ctypes.c_char_p)]  # noqa: RUF012 -- ctypes wants a list


def refuse(program: bytes) -> None:
    """Have the kernel refuse system calls, for good: a program for its filter. `surrender` came before."""
    told = _Filter(len(program) // 8, program)
    _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(told), 0, 0), "the filter")


def _build(task: Any) -> None:
    """Make this process's namespaces and put its file system together."""
    view: List[List[Any]] = task["view"]
    unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUTS)
    socket.sethostname("atoll")
    _raise_loopback()
    mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    mount("tmpfs", ROOT, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755")
    for kind, source, target in view:
        _apply(kind, source, ROOT + target)
    _seal([(ROOT + target, kind) for kind, _, target in view])
    settings = os.open(ROOT + "/proc/sys", os.O_RDONLY | os.O_CLOEXEC)
    _close_proc(task)
    os.chdir(ROOT)
    old = ROOT + "/run/old"
    os.makedirs(old)
    _check(_libc.pivot_root(b".", os.fsencode(old)), "pivot_root")
    os.chdir("/")
    _check(_libc.umount2(b"/run/old", _MNT_DETACH), "umount the parent's view")
    os.rmdir("/run/old")
    mount("none", "/", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)
    _enter_user_namespace(settings)
    os.close(settings)


def _apply(kind: str, source: str, target: str) -> None:
    """One line of the view: see ``view.py`` at the host's side."""
    if kind == "folder":
        os.makedirs(target, exist_ok=True)
    elif kind == "link":
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.lexists(target):
            os.symlink(source, target)
    elif kind == "text":
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w") as file:
            file.write(source)
    elif kind == "proc":
        os.makedirs(target, exist_ok=True)
        mount("proc", target, "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    elif kind in ("memory", "cover"):
        os.makedirs(target, exist_ok=True)
        mount("tmpfs", target, "tmpfs", _MS_NOSUID | _MS_NODEV, source or "mode=0755")
    elif kind == "blank":
        empty = ROOT + "/run/empty"
        os.makedirs(os.path.dirname(empty), exist_ok=True)
        _make_point(empty, empty)
        mount(empty, target, None, _MS_BIND)
    elif kind in ("read", "write", "device"):
        _make_point(source, target)
        mount(source, target, None, _MS_BIND | _MS_REC)
    else:
        raise ValueError("a view knows no %r" % (kind,))


def _make_point(source: str, target: str) -> None:
    """Make the file or folder that something is mounted on, where it isn't there yet."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _close_proc(task: Any) -> None:
    """Take away what of /proc is one for the whole machine."""
    for name in task["proc_read_only"]:
        path = ROOT + "/proc/" + name
        if os.path.exists(path):
            mount(path, path, None, _MS_BIND | _MS_REC)
            _remount(path, _MS_RDONLY | _MS_NOEXEC)
    for name in task["proc_hidden"]:
        if os.path.exists(ROOT + "/proc/" + name):
            mount(ROOT + "/dev/null", ROOT + "/proc/" + name, None, _MS_BIND)


def _seal(points: List[Any]) -> None:
    """Make read-only what the view doesn't call writable, with all that is mounted beneath it."""
    with open("/proc/self/mountinfo", "rb") as file:
        mounted = [line.split(b" ")[4].decode("unicode_escape").encode("latin-1") for line in file]
    points.sort(key=lambda point: -len(point[0]))
    for path in map(os.fsdecode, mounted):
        if not path.startswith(ROOT + "/"):
            continue
        kind = next(
            (kind for point, kind in points if (path + "/").startswith(point.rstrip("/") + "/")), "read"
        )
        if kind in ("read", "cover", "blank"):
            _remount(path, _MS_RDONLY | _MS_NODEV)
        elif kind == "write":
            _remount(path, _MS_NODEV)


def _remount(path: str, flags: int) -> None:
    """Add flags to a mount; those that it has may be locked and must stay."""
    has = os.statvfs(path).f_flag
    kept = (has & _KEPT_FLAGS) | (_MS_RELATIME if has & _ST_RELATIME else 0)
    mount("none", path, None, _MS_REMOUNT | _MS_BIND | _MS_NOSUID | kept | flags)


def _raise_loopback() -> None:
    """Bring up the cell's own loopback network, which libraries use to talk to themselves."""
    siocsifflags, iff_up, iff_running = 0x8914, 0x1, 0x40
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
        fcntl.ioctl(endpoint, siocsifflags, struct.pack("16sh22x", b"lo", iff_up | iff_running))


def _enter_user_namespace(settings: int) -> None:
    """Leave the parent's user namespace for one with this user alone, in which none can be made.

    `settings` is /proc/sys as it was before it was made read-only.
    """
    user, group = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | CLONE_NEWCGROUP)
    for name, content in (
        ("setgroups", "deny"),
        ("uid_map", "%d %d 1" % (user, user)),
        ("gid_map", "%d %d 1" % (group, group)),
    ):
        with open("/proc/self/" + name, "w") as file:
            file.write(content)
    limit = os.open("user/max_user_namespaces", os.O_WRONLY | os.O_CLOEXEC, dir_fd=settings)
    os.write(limit, b"0")
    os.close(limit)
