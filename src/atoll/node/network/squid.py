"""Squid as a child of the node: configured, started, watched, and ended with it.

It is started again where it ends, and whoever wants to reach something meanwhile waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import re
import secrets
import shutil
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv6Network, ip_network
from pathlib import Path
from typing import IO

from atoll.model.errors import RuntimeUnavailable
from atoll.node.network.configuration import own_addresses, write
from atoll.node.network.permitted import Permitted
from atoll.node.network.refused import Asking, Callers, Lines

_log = logging.getLogger(__name__)

#: Seconds that it may take to start; it takes tenths.
_START_SECONDS = 30.0
#: Seconds before whoever found nobody there tries again.
_RETRY_SECONDS = 0.05
#: Seconds before it is started again: a moment, then longer where it ends again and again.
_PAUSES_SECONDS = (0.1, 1.0, 5.0, 30.0)
#: Seconds after which an end has nothing to do with the one before.
_STEADY_SECONDS = 60.0
#: Times that it is tried with another port, where somebody has taken the one that was free.
_PORTS_TRIED = 5
#: Bits of an address that say for which list it is: the rest are a connection's.
_CALLER_BITS = 112
_LISTENS = re.compile(rb"Accepting .*HTTP Socket connections")
_FAULT = re.compile(rb"FATAL: (.*)|(Cannot bind socket.*)")
#: Where shared memory lies, and how Squid calls ours; the number is the node's.
_SHARED = Path("/dev/shm")  # noqa: S108 -- no file of ours is made there by us
_NAMED = re.compile(r"atoll(\d+)x[0-9a-f]+-")
#: Whom it runs as where the node is root: Squid doesn't run as root.
_USERS = ("proxy", "squid", "nobody")


def why_missing() -> str | None:
    """Why there can be no filtering proxy here, with the remedy; None where there can."""
    if _program() is None:
        return (
            "the settings say what algorithms may reach (network: allow), and Squid, which lets them, is not "
            "installed: apt install squid. Its service need not run"
        )
    return None


class Squid:
    """A filtering proxy with several lists.

    Args:
        lists: what the callers of each list may reach.
        names: lines of its configuration about how names are looked up.
    """

    def __init__(self, lists: Sequence[Permitted], *, names: Sequence[str] = ()) -> None:
        self._lists = lists
        self._names = names
        # Its own networks of local addresses, so that none of them can be a real one.
        self._networks = [
            IPv6Network(((0xFD << 120) | (secrets.randbits(104) << 16), _CALLER_BITS)) for _ in lists
        ]
        self._callers = Callers()
        # By this name it calls what it keeps in shared memory, as small as that is.
        self._name = f"atoll{os.getpid()}x{secrets.token_hex(8)}"
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None
        #: What it says of what it has refused.
        self._refused: IO[bytes] | None = None
        self._ready = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it, and wait until it listens.

        Raises:
            RuntimeUnavailable: it isn't installed, or doesn't start.
        """
        reason = why_missing()
        if reason is not None:
            raise RuntimeUnavailable(reason)
        _sweep()
        await self._start()
        self._watching = asyncio.create_task(self._watch())

    async def connect(self, number: int, asking: Asking) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to it, on behalf of a list. Where it is being started again, that is waited for."""
        while True:
            await self._ready.wait()
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except ConnectionRefusedError:
                await asyncio.sleep(_RETRY_SECONDS)  # it has just begun, or just ended
            else:
                break
        low, port = self._callers.enter(asking)
        writer.write(f"PROXY TCP6 {self._networks[number][low]} ::1 {port} 1\r\n".encode())
        return reader, writer

    async def close(self) -> None:
        """End it. May be called twice."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        await self._end()

    async def _start(self) -> None:
        said = ""
        for _ in range(_PORTS_TRIED):
            self._port = await _free_port()
            refused, told = _pipe()
            configuration = self._configuration(f"/proc/self/fd/{told}")
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *_command(self._name, configuration),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                    env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
                    cwd="/",
                    start_new_session=True,
                    pass_fds=(configuration, told),
                )
            except BaseException:
                refused.close()
                raise
            finally:
                os.close(configuration)
                os.close(told)
            self._refused = refused
            try:
                async with asyncio.timeout(_START_SECONDS):
                    fault = await _heard(self._process)
            except TimeoutError:
                fault = f"it was not ready within {_START_SECONDS:g} seconds"
            except BaseException:
                await self._end()
                raise
            if fault is None:
                self._ready.set()
                return
            said = fault
            await self._end()
        raise RuntimeUnavailable(
            f"Squid, through which algorithms reach what is allowed, doesn't start: {said}"
        )

    async def _watch(self) -> None:
        """Start it again where it ends."""
        loop, ends = asyncio.get_running_loop(), 0
        while True:
            began = loop.time()
            assert self._process is not None
            assert self._refused is not None
            await asyncio.gather(_drain(self._process), _hear(self._refused, self._callers))
            status = await self._process.wait()
            self._ready.clear()
            _log.warning("Squid has ended with status %d, and is started again", status)
            if loop.time() - began > _STEADY_SECONDS:
                ends = 0
            started = False
            while not started:
                await asyncio.sleep(_PAUSES_SECONDS[min(ends, len(_PAUSES_SECONDS) - 1)])
                ends += 1
                try:
                    await self._start()
                    started = True
                except RuntimeUnavailable as error:
                    _log.warning("%s", error)

    async def _end(self) -> None:
        self._ready.clear()
        if self._refused is not None:
            self._refused.close()
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        # It keeps nothing that would have to be put in order.
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        _sweep(self._name)

    def _configuration(self, refused: str) -> int:
        """Its configuration, in a file that has no name: there are secrets in it."""
        own = own_addresses(_read("/proc/net/fib_trie"), _read("/proc/net/if_inet6"))
        text = write(
            port=self._port,
            callers=[str(network) for network in self._networks],
            lists=self._lists,
            own=[ip_network(address) for address in sorted(own, key=str)],
            names=self._names,
            refused=refused,
        )
        descriptor = os.memfd_create("squid.conf", os.MFD_CLOEXEC)
        with open(descriptor, "w", closefd=False) as file:
            file.write(text)
        return descriptor


def _command(name: str, configuration: int) -> list[str]:
    # It ends with the node, however that ends. Squid would change its user itself, and be freed of that.
    words = ["setpriv", "--pdeathsig", "KILL", "--no-new-privs"]
    if os.geteuid() == 0:
        user = _user()
        words += [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return [
        *words,
        "--",
        _program() or "squid",
        "-N",
        "-n",
        name,
        "-d",
        "1",
        "-f",
        f"/proc/self/fd/{configuration}",
    ]


def _sweep(own: str = "") -> None:
    """Remove what a Squid has left in shared memory: one of ours, and those of nodes that are no more."""
    for path in _SHARED.glob("atoll*-*.shm"):
        found = _NAMED.match(path.name)
        if found is not None and (found[0] == f"{own}-" or not Path("/proc", found[1]).exists()):
            with suppress(OSError):  # another user's
                path.unlink()


def _program() -> str | None:
    # Debian keeps it where only root's path leads.
    return shutil.which("squid", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


def _user() -> pwd.struct_passwd:
    for name in _USERS:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeUnavailable(
        f"Squid can't run as root, and this machine has none of the users {', '.join(_USERS)}: run the node as a "
        "user of its own"
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except FileNotFoundError:  # a kernel without IPv6
        return ""


async def _free_port() -> int:
    """A port of the loopback that was free a moment ago."""
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def _heard(process: asyncio.subprocess.Process) -> str | None:
    """Wait until it listens; what it says is wrong where it doesn't come to that."""
    assert process.stderr is not None
    fault = "it ended without a word"
    async for line in process.stderr:
        if _LISTENS.search(line):
            return None
        if (found := _FAULT.search(line)) is not None:
            fault = (found[1] or found[2]).decode("utf-8", "replace").strip()
    return fault


def _pipe() -> tuple[IO[bytes], int]:
    """A pipe whose one end Squid may open, whoever it runs as."""
    user = _user() if os.geteuid() == 0 else None
    ours, theirs = os.pipe()
    if user is not None:
        os.fchown(theirs, user.pw_uid, user.pw_gid)
    return open(ours, "rb", buffering=0), theirs


async def _hear(refused: IO[bytes], callers: Callers) -> None:
    """Read what it says of what it has refused, until it ends."""
    reader, lines = asyncio.StreamReader(), Lines(callers)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), refused
    )
    try:
        while piece := await reader.read(65_536):
            lines.take(piece)
    finally:
        transport.close()


async def _drain(process: asyncio.subprocess.Process) -> None:
    """Read what it says, so that it never waits for a reader. It names hosts, and isn't kept."""
    assert process.stderr is not None
    while await process.stderr.read(65_536):
        pass
