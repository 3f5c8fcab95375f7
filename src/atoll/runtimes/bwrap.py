"""Commands in sandboxes, in bubblewrap's words: what carries a view out for a cold start.

What a sandbox shows is a list of `view.py`'s lines. What it is beside is the same for all: its
own namespaces, without a network, and the filter of ``refused.py``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from atoll.runtimes import view
from atoll.runtimes.children import UNBOUNDED, Bounds, Child, Streams, spawn
from atoll.runtimes.refused import refusing

_NAMESPACES = (
    *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"),
    *("--unshare-cgroup-try", "--die-with-parent", "--new-session", "--hostname", "atoll"),
)
#: Ports below this one need a privilege, or a sandbox that was asked for any port.
LOW_PORTS = 1024
#: The first port at which anybody may listen, of the network of whoever writes to it.
_PORTS = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
#: Seconds that the probe may take; it takes hundredths.
_PROBE_SECONDS = 20.0


@cache
def probe() -> str | None:
    """Why bubblewrap doesn't work on this machine, as a sentence; None where it does."""
    program = shutil.which("bwrap")
    if program is None:
        return "bubblewrap is not installed: there is no program named bwrap"
    texts: list[int] = []
    try:
        # What every sandbox is shown, and not all of the machine: somebody may take a file system away meanwhile.
        shown = [word for line in view.base() for word in words_of(line, texts)]
        tried = subprocess.run(
            [program, *_NAMESPACES, *shown, *_filter_words(texts), "--", "/bin/true"],
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
            pass_fds=texts,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"bubblewrap doesn't work on this machine: {error}"
    finally:
        for text in texts:
            os.close(text)
    if tried.returncode == 0:
        return None
    said = tried.stderr.decode("utf-8", "replace").strip() or f"it ended with status {tried.returncode}"
    return f"bubblewrap doesn't work on this machine: {said}"


def spawn_in(
    lines: Sequence[view.Line],
    command: Sequence[str],
    variables: Mapping[str, str],
    streams: Streams,
    *,
    options: Sequence[str] = (),
    passed: Sequence[int] = (),
    bounds: Bounds = UNBOUNDED,
    any_port: bool = False,
) -> Child:
    """Start a command in a sandbox that shows what the lines say.

    What starts the sandbox, out here, gets no variable at all: a site's may be such as the linker
    obeys. They are read from a file, since everybody may see the words of a command.

    Args:
        lines: what it shows.
        command: its first word is a path inside, or a name in the ``PATH`` of the variables.
        variables: its whole environment.
        streams: its standard streams, and the socket that it serves.
        options: further words for bubblewrap.
        passed: further descriptors that it inherits, under the same numbers.
        bounds: what it may take.
        any_port: whether it may listen at those ports of its own network that else need a privilege.
    """
    program = shutil.which("bwrap") or "bwrap"
    texts: list[int] = []
    try:
        words = [word for line in lines for word in words_of(line, texts)]
        # Only now: a mount may have needed a point in one of them.
        for target in ["/", *(target for kind, _, target in lines if kind == "cover")]:
            words += ["--remount-ro", target]
        words += _filter_words(texts)
        settings = "".join(f"--setenv\0{name}\0{value}\0" for name, value in variables.items())
        words += ["--args", str(_file_of(os.fsencode(settings), texts))]
        return spawn(
            [
                *_sandbox(program, any_port=any_port, named="--uid" in options),
                *options,
                *words,
                "--",
                *command,
            ],
            {},
            streams,
            passed=[*passed, *texts],
            bounds=bounds,
            sandboxed=True,
        )
    finally:
        for text in texts:
            os.close(text)


def _sandbox(program: str, *, any_port: bool, named: bool) -> list[str]:
    """The words that make the namespaces, before those that say what is in them, and who it is if that is `named`."""
    if not any_port:
        return [program, *_NAMESPACES]
    # The network is made by a sandbox around this one, which shows everything and opens the ports:
    # whoever may make no user namespaces has no rights over the network that came before theirs.
    # In it this user is called root, since bubblewrap trusts nobody else who has any privilege.
    around = ["--unshare-user", "--unshare-net", "--die-with-parent", "--uid", "0", "--gid", "0"]
    opened = f'echo 0 > {_PORTS}; exec "$@"'
    myself = [] if named else ["--uid", str(os.geteuid()), "--gid", str(os.getegid())]
    return [
        # The second is what it takes to map root to anybody.
        *(program, *around, "--dev-bind", "/", "/", "--cap-add", "CAP_NET_ADMIN", "--cap-add", "CAP_SETFCAP"),
        *("--", "/bin/sh", "-c", opened, "sh"),
        *(program, *(word for word in _NAMESPACES if word != "--unshare-net"), *myself),
    ]


def words_of(line: view.Line, texts: list[int]) -> list[str]:
    """A line of a view in bubblewrap's words."""
    kind, source, target = line
    if kind in ("text", "blank"):
        return ["--perms", "0444", "--ro-bind-data", str(_file_of(source.encode(), texts)), target]
    if kind == "proc":
        return ["--proc", target, *_proc_words(target)]
    return {
        "folder": ["--dir", target],
        "link": ["--symlink", source, target],
        "memory": ["--perms", source.partition("=")[2], "--tmpfs", target],
        "cover": ["--tmpfs", target],
        "read": ["--ro-bind", source, target],
        "write": ["--bind", source, target],
        "device": ["--dev-bind", source, target],
    }[kind]


def _filter_words(texts: list[int]) -> list[str]:
    """The filter of system calls in bubblewrap's words."""
    refused = refusing()
    return [] if refused is None else ["--seccomp", str(_file_of(refused, texts))]


def _file_of(content: bytes, texts: list[int]) -> int:
    """A file in memory for bubblewrap to read, added to those that are to be closed."""
    descriptor = os.memfd_create("text", os.MFD_CLOEXEC)
    texts.append(descriptor)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _proc_words(proc: str) -> Iterator[str]:
    """What of /proc is one for the whole machine: as read-only or hidden as in a forked sandbox."""
    for name in view.PROC_READ_ONLY:
        if os.path.exists(f"/proc/{name}"):
            yield from ("--ro-bind", f"/proc/{name}", f"{proc}/{name}")
    for name in view.PROC_HIDDEN:
        if os.path.exists(f"/proc/{name}"):
            yield from ("--dev-bind", "/dev/null", f"{proc}/{name}")
