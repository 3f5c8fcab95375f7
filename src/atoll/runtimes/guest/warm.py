"""A warm parent: it imports libraries once and forks a process for every call.

The host talks to it over one socket. A message is a JSON object; files that belong to it
travel beside it. The parent never reads what a call is given, its environment included: that
is in a file which only the forked child opens, so that no call finds another's in its memory.

::

    host  -> {"do": "import", ...}                     parent -> {"ready": true} or {"cold": why}
          -> {"do": "cell", "id": n} + task            -> {"cell": n, "error": null}
          -> {"do": "call", "id": n, "cell": m} + ...  -> {"started": n, "pid": p} .. {"ended": n, "status": s}
          -> {"do": "listen", "at": [...]} + line      (the sockets come over the line)
          -> {"do": "connect", "port": p} + line
          -> {"do": "kill", "id": n}
          -> {"do": "drop", "id": n}
          (closed)                                     ends with all its children

One thread only: a fork copies no other, and locks that those held would stay locked for ever.
"""

# ruff: noqa: FA100, UP006, UP007, UP035, UP045 -- this runs on Python 3.8

from __future__ import annotations

import array
import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
import warnings
from typing import Any, Dict, List, NoReturn, Optional, Set, Tuple

from . import door, ports, program, script  # noqa: TID252 -- the package has another name where this runs

#: Bytes of a message; what is larger travels as a file.
_MESSAGE_BYTES_MAX = 65536
_FILES_MAX = 12
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36
#: Until it is looked again who is left of those that are to end.
_LOOK_AGAIN_SECONDS = 0.005


class _Call:
    """A forked process that has not been reported as ended."""

    def __init__(self, number: int, pid: int, cell: Optional[int]) -> None:
        self.number = number
        self.pid = pid
        self.cell = cell
        #: What the system said of its end; then the cell is swept.
        self.status: Optional[int] = None


class _Parent:
    """The loop of a warm parent."""

    def __init__(self, control: socket.socket, cell: Any, boxed: Any) -> None:
        self._control = control
        #: The module that gives up capabilities, where this is the first process of a box.
        self._boxed = boxed
        #: What the kernel refuses to the calls of a box, as its filter's program.
        self.refused = b""
        #: The module that makes cells, where this parent is isolated.
        self._cell = cell
        self._calls: Dict[int, _Call] = {}
        self._cells: Dict[int, Any] = {}
        #: Ended calls whose sessions may have members left.
        self._past: Set[int] = set()
        #: First processes of cells that were dropped and are not reaped yet.
        self._dropped: List[int] = []
        self._own_processes = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC) if cell else -1
        self._own_network = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC) if cell else -1
        self._awake, wakeup = os.pipe()
        self._wakeup = wakeup
        os.set_blocking(self._awake, False)
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> NoReturn:
        """Do what the host asks until it closes the line."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._awake, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._awake:
                    try:
                        os.read(self._awake, 4096)
                    except BlockingIOError:
                        pass
                    self._reap()
                else:
                    self._obey()

    def _tell(self, **message: Any) -> None:
        try:
            self._control.sendall(json.dumps(message).encode())
        except OSError:
            self._leave()

    def _leave(self) -> NoReturn:
        """End, with everything that was forked: what loses its parent becomes a child of this process."""
        while self._cell is None:
            for pid in _children():
                os.kill(pid, signal.SIGKILL)
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    # Not until one ends: the kernel may leave one out of its list while others end.
                    select.select([], [], [], _LOOK_AGAIN_SECONDS)
            except ChildProcessError:
                break
        os._exit(0)  # and with it the namespace that all cells are in

    def _obey(self) -> None:
        text, files = _receive(self._control)
        if not text:
            self._leave()
        message = json.loads(text)
        do = message["do"]
        if do == "call":
            self._start(message, files)
        elif do == "cell":
            self._make_cell(message["id"], files)
        elif do in ("listen", "connect"):
            self._open_port(message, files[0])
        elif do == "kill" and message["id"] in self._calls:
            self._kill(self._calls[message["id"]])
        elif do == "drop" and message["id"] in self._cells:
            home = self._cells.pop(message["id"])
            home.close()
            self._dropped.append(home.pid)
        for file in files:
            os.close(file)

    def _start(self, message: Dict[str, Any], files: List[int]) -> None:
        number, cell = message["id"], message.get("cell")
        home = self._cells.get(-1 if cell is None else cell)
        if cell is not None and home is None:
            self._tell(ended=number, lost=True)
            return
        try:
            pid = self._fork(home.processes if home is not None else None)
        except OSError as error:
            self._tell(ended=number, refused=str(error))
            return
        if pid == 0:
            self._be_call(dict(zip(message["files"], files)), home)
        self._calls[number] = _Call(number, pid, cell)
        self._tell(started=number, pid=pid)

    def _fork(self, processes: Optional[int]) -> int:
        """Fork, into another process namespace where one is given."""
        if processes is None:
            return _fork()
        self._cell.setns(processes, self._cell.CLONE_NEWPID)
        pid = -1
        try:
            pid = _fork()
        finally:
            if pid != 0:
                self._cell.setns(self._own_processes, self._cell.CLONE_NEWPID)
        return pid

    def _be_call(self, files: Dict[str, int], home: Any) -> NoReturn:
        """Become the call, in the forked child."""
        errors = files["stderr"]
        try:
            os.setsid()
            if home is None:  # a cell ends with its parent anyway
                ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            task = json.loads(_read_all(files["task"]))
            for name, descriptor in files.items():
                if name.startswith("group"):
                    os.write(descriptor, b"0")
            if "door" in files:  # while it may still listen at any port
                if home is not None:
                    home.join_network()
                door.open_doors(files["door"], task["listen"])
            if home is not None:
                home.enter()
            if self._boxed:
                self._boxed.surrender()  # it may have been let listen at any port
                if self.refused:
                    self._boxed.refuse(self.refused)
                # What others may not look into can't open its own /proc/self either.
                ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
            self._forget_parent(files)
            errors = 2
            bounds = [("RLIMIT_DATA", task.get("memory")), ("RLIMIT_FSIZE", task.get("file"))]
            if home is not None:  # elsewhere all processes of the user would count
                bounds.append(("RLIMIT_NPROC", task.get("processes")))
            for name, bound in bounds:
                if bound is not None:
                    import resource  # noqa: PLC0415 -- only a limited call needs it

                    resource.setrlimit(getattr(resource, name), (bound, bound))
            if "serve" in files:
                os.set_inheritable(files["serve"], True)
                task["environment"][script.SERVE_VARIABLE] = str(files["serve"])
            if task["kind"] == "exec":
                program.become(task)
            script.become(task)
        except BaseException as error:  # noqa: BLE001 -- the top of a process
            os.write(errors, ("the call could not be set up: %s\n" % (error,)).encode())
            os._exit(127)
        script.run(task)

    def _forget_parent(self, files: Dict[str, int]) -> None:
        """Close what is the parent's, and put the call's streams where they belong."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._control.close()
        for descriptor in (self._awake, self._wakeup):
            os.close(descriptor)
        for home in self._cells.values():
            home.forget()
        if self._own_processes >= 0:
            os.close(self._own_processes)
            os.close(self._own_network)
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            os.dup2(files[name], number)
        for name, descriptor in files.items():
            if name != "serve":
                os.close(descriptor)

    def _open_port(self, message: Dict[str, Any], line: int) -> None:
        """Listen or connect in a session's network, and hand over what came of it."""
        number = message.get("cell")
        home = self._cells.get(-1 if number is None else number)
        if number is not None and home is None:
            return  # the line is closed, which says enough
        try:
            try:
                if home is not None:
                    home.join_network()
                if "at" in message:
                    door.open_doors(line, message["at"])
                else:
                    door.open_way(line, message["port"])
            except OSError as error:
                ports.refuse(line, error)
            finally:
                if home is not None:
                    self._cell.setns(self._own_network, self._cell.CLONE_NEWNET)
        except (BrokenPipeError, ConnectionResetError):
            pass  # nobody waits for it any more

    def _make_cell(self, number: int, files: List[int]) -> None:
        """Make a cell, or tell what the machine refuses."""
        ours, theirs = socket.socketpair()
        pid = -1
        try:
            with theirs:
                pid = self._fork_init(files[0], ours, theirs)
            answer = ours.recv(_MESSAGE_BYTES_MAX)
            if answer != b"built":
                raise OSError(answer.decode() or "its first process ended")
            self._cells[number] = self._cell.Cell(pid, ours)
        except OSError as error:
            ours.close()  # without which the first process ends, if it lives
            if pid > 0:
                self._dropped.append(pid)
            self._tell(cell=number, error=str(error))
            return
        self._tell(cell=number, error=None)

    def _fork_init(self, task: int, ours: socket.socket, theirs: socket.socket) -> int:
        """Fork the first process of a cell."""
        cell = self._cell
        cell.unshare(cell.CLONE_NEWPID)
        pid = -1
        try:
            pid = _fork()
        finally:
            if pid != 0:
                cell.setns(self._own_processes, cell.CLONE_NEWPID)
        if pid == 0:
            signal.set_wakeup_fd(-1)
            self._control.close()
            ours.close()
            for home in self._cells.values():
                home.forget()
            cell.serve_init(json.loads(_read_all(task)), theirs)
        return pid

    def _kill(self, call: _Call) -> None:
        try:
            if call.status is None:
                # Without a cell, a call is a process group; its leader isn't reaped yet.
                (os.kill if call.cell is not None else os.killpg)(call.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        except PermissionError:
            os.kill(call.pid, signal.SIGKILL)

    def _reap(self) -> None:
        """Report the calls that ended. Nothing of a call is left when its end is told."""
        for call in list(self._calls.values()):
            if call.cell is None:
                if os.waitid(os.P_PID, call.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                    continue
                self._kill(call)  # what it left in its group, while its number can't be another's
                _, call.status = os.waitpid(call.pid, 0)
            else:
                pid, call.status = os.waitpid(call.pid, os.WNOHANG)
                if pid == 0:
                    call.status = None
                    continue
                self._sweep(call.cell)
            del self._calls[call.number]
            if self._boxed and not self._calls:
                _end_all_others()
            if call.cell is None:
                self._past.add(call.pid)
                self._end_strays()
            kills = _memory_kills() if self._boxed and call.status else 0
            self._tell(ended=call.number, status=call.status, memory_kills=kills)
        if self._cell is None:
            self._end_strays()
        self._dropped = [pid for pid in self._dropped if not os.waitpid(pid, os.WNOHANG)[0]]
        for number, home in list(self._cells.items()):
            if os.waitpid(home.pid, os.WNOHANG)[0]:  # it should not end by itself: calls are told
                home.forget()
                del self._cells[number]

    def _end_strays(self) -> None:
        """Without cells: end what calls left outside of their groups.

        Such a process has become a child of this one. Where it has left its call's session too,
        nobody can tell whose it is, and it ends when no call is under way.
        """
        running = {call.pid for call in self._calls.values()}
        for pid in _children():
            if pid in running:
                continue
            try:
                if not running or os.getsid(pid) in self._past:
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
            except (ProcessLookupError, ChildProcessError):
                pass
        if not running:
            self._past.clear()

    def _sweep(self, number: int) -> None:
        """End what a call left in its cell."""
        home = self._cells.get(number)
        try:
            if home is not None:
                home.line.sendall(b"-")
                home.line.recv(1)
        except OSError:
            pass  # the cell's first process is gone, and with it all others


def _end_all_others() -> None:
    """End every process of this box but the first, which is this one."""
    if os.getpid() == 1:
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _memory_kills() -> int:
    """How often the system has ended a process of this box for its memory; 0 where it doesn't tell."""
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        try:
            with open(path) as file:
                words = file.read().split()
            return int(words[words.index("oom_kill") + 1])
        except (OSError, ValueError, IndexError):  # noqa: PERF203 -- one of them isn't there
            continue
    return 0


def _children() -> List[int]:
    """The children of this process, adopted ones too."""
    try:
        with open("/proc/self/task/%d/children" % (os.getpid(),)) as file:
            return [int(word) for word in file.read().split()]
    except OSError:  # a kernel that doesn't tell
        return []


def _fork() -> int:
    with warnings.catch_warnings():
        # Python 3.12 warns of threads that libraries in C have. Those know how to fork; the
        # host was told to start cold where there are threads of Python.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _receive(control: socket.socket) -> Tuple[bytes, List[int]]:
    """A message and its files; empty where the host has closed."""
    space = socket.CMSG_SPACE(_FILES_MAX * array.array("i").itemsize)
    try:
        text, extras, _, _ = control.recvmsg(_MESSAGE_BYTES_MAX, space)
    except ConnectionResetError:  # it ended without having read what it was told last
        return b"", []
    files = array.array("i")
    for _, _, content in extras:
        files.frombytes(content[: len(content) - len(content) % files.itemsize])
    for file in files:
        os.set_inheritable(file, False)
    return text, list(files)


def _read_all(descriptor: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        return file.read()


def _import_libraries(libraries: List[str]) -> Optional[str]:
    """Import what can be imported, and say why this process must not fork, if so."""
    for name in libraries:
        try:
            __import__(name)
        except BaseException:  # noqa: BLE001, PERF203 -- whatever a library raises, the script will meet it
            continue
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:
        return "a library started a thread when it was imported"
    for name in os.listdir("/proc/self/fd"):
        # An open folder would lead a call out of its sandbox.
        if (
            int(name) > 2
            and os.path.isdir("/proc/self/fd/" + name)
            and "/fd" not in os.readlink("/proc/self/fd/" + name)
        ):
            return "a library holds a folder open"
    return None


def main(descriptor: int, isolated: bool, boxed: bool = False) -> NoReturn:
    """Be a warm parent that is told what to do over `descriptor`.

    Args:
        descriptor: the line to the host.
        isolated: whether this process holds capabilities, and makes a sandbox for each session.
        boxed: whether it is the first process of a sandbox that is one session's.
    """
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    cell: Any = None
    walls: Any = None
    try:
        if isolated:
            from . import cell  # noqa: PLC0415, TID252 -- it needs ctypes calls that others do without
        import resource  # noqa: PLC0415 -- after the line is there to tell what goes wrong

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        first = json.loads(_receive(control)[0] or b"null")
        if first is None:
            os._exit(0)
        sys.path[:] = [path for path in sys.path if path not in ("", first["here"])]
        from . import scan  # noqa: PLC0415, TID252 -- as above

        found = [name for name in first.get("look_for", ()) if scan.is_there(name)]
        sys.path[:0] = first["path"]
        import runpy  # noqa: F401, PLC0415 -- it takes milliseconds, and what `-m` starts needs it

        libraries = first.get("libraries", [])
        if boxed:
            # The host has looked already where it could, and calls elsewhere are in cells.
            from . import cell as walls  # noqa: PLC0415, TID252 -- as it says above

            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # the calls have this process's user
            libraries = scan.libraries_of(first["scan"]) if first["scan"] else []
        reason = _import_libraries(libraries)
        sys.path[:] = [path for path in sys.path if path not in first["path"]]
        for name in [name for name in sys.modules if name.split(".")[0] == __name__.split(".")[0]]:
            del sys.modules[name]  # the script may have modules of these names
        # What this process did not find may be there for a call: it has another view of the files.
        for folder in [folder for folder, finder in sys.path_importer_cache.items() if finder is None]:
            del sys.path_importer_cache[folder]
        gc.collect()
        gc.freeze()  # a collection in a child then leaves the shared memory alone
        if cell is None:
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        parent = _Parent(control, cell, walls)
        parent.refused = bytes.fromhex(first.get("refused", ""))
        ready = {"ready": True, "found": found}
        control.sendall(json.dumps(ready if reason is None else {"cold": reason}).encode())
    except BaseException as error:  # noqa: BLE001 -- the top of a process
        control.sendall(json.dumps({"cold": "%s: %s" % (type(error).__name__, error)}).encode())
        os._exit(1)
    parent.run()
