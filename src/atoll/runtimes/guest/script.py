"""Run a script in this process as a fresh interpreter would.

A forked child of a warm parent calls `become` and then `run`; a cold start that needs seeded
generators runs `main`. What a script can tell apart from a fresh start: frames of this file
lie beneath its own, modules that were imported ahead are there already, and hashes of text
are those of the parent.
"""

# ruff: noqa: FA100, UP006, UP007, UP035, UP045 -- this runs on Python 3.8

from __future__ import annotations

import array
import atexit
import ctypes
import gc
import io
import os
import signal
import sys
import types
from typing import Any, Dict, List, NoReturn, Optional

#: The buffered kinds of file. Asking for `io.IOBase` instead would run Python code for each object.
_FLUSHED = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom, io.BufferedRWPair)
#: Where a served process finds the number of its socket.
SERVE_VARIABLE = "ATOLL_SERVE_FD"


def become(task: Dict[str, Any]) -> None:
    """Take on a call's environment, working directory, arguments and standard streams.

    The descriptors 0, 1 and 2 are the call's already.
    """
    # Only what differs: in a fork, each object that is touched is a page that is copied.
    environment = task["environment"]
    for name in [name for name in os.environ if name not in environment]:
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    if "TZ" in environment:
        import time  # noqa: PLC0415 -- only where a time zone was asked for

        time.tzset()
    os.chdir(task["cwd"])
    _open_streams(bool(task.get("unbuffered")))
    tempfile = sys.modules.get("tempfile")
    if tempfile is not None:  # it remembers the folder that the parent had
        tempfile.tempdir = None  # type: ignore[attr-defined] # the module is only known by name
    sys.path[:0] = task.get("path", [])


def run(task: Dict[str, Any]) -> NoReturn:
    """Run what the task names as ``__main__`` and end this process with its exit status."""
    seed_generators(task.get("seed"))
    main = types.ModuleType("__main__")
    namespace = main.__dict__
    namespace["__builtins__"] = sys.modules["builtins"]
    if sys.version_info < (3, 14):
        namespace["__annotations__"] = {}
    before = sys.modules["__main__"]  # its functions are running: it must stay alive
    sys.modules["__main__"] = main
    name: str = task["name"]
    kind: str = task["kind"]
    sys.argv = [name if kind == "script" else "-" + kind[0], *task["arguments"]]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv = [sys.executable, *task["original"]]
    try:
        if kind == "script":
            _run_script(name, namespace)
        elif kind == "command":
            _put_first_on_path("")
            exec(compile(name, "<string>", "exec", dont_inherit=True), namespace)  # noqa: S102 -- it is `-c`
        else:
            import runpy  # noqa: PLC0415 -- it costs milliseconds that a script needn't pay

            _put_first_on_path(os.getcwd())
            runpy._run_module_as_main(name)  # type: ignore[attr-defined] # noqa: SLF001 -- what `-m` itself calls
        status = 0
    except BaseException as error:  # noqa: BLE001 -- this is the top of a program
        status = _status_of(error)
    _end(status, namespace)
    raise AssertionError(before)  # never reached


def seed_generators(seed: Optional[int]) -> None:
    """Give the generators of this process a state of their own: two forks else draw the same.

    numpy's and torch's are seeded when they are imported, where that is still to come and
    there is a seed. Without one a fresh import needs no help.
    """
    if seed is not None:  # without one, Python gives a fork's its own
        import random  # noqa: PLC0415 -- only where it matters

        random.seed(seed)
    for name, seeder in _SEEDERS.items():
        if name in sys.modules:
            seeder(sys.modules[name], seed)
    if seed is not None:
        sys.meta_path.insert(0, _SeedOnImport(seed))


def _seed_numpy(module: Any, seed: Optional[int]) -> None:
    # Asking numpy for its own entropy costs milliseconds in a fork.
    module.seed(array.array("I", os.urandom(32)).tolist() if seed is None else seed % 2**32)


def _seed_torch(module: Any, seed: Optional[int]) -> None:
    if seed is None:
        module.seed()
    else:
        module.manual_seed(seed % 2**63)


_SEEDERS = {"numpy.random": _seed_numpy, "torch": _seed_torch}


class _SeedOnImport:
    """A finder that seeds a generator's module as soon as it was imported."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._busy = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Let the others find the module, and add the seeding to how it is executed."""
        if name not in _SEEDERS or self._busy:
            return None
        self._busy = True
        try:
            spec = sys.modules["_frozen_importlib"]._find_spec(name, path, target)  # noqa: SLF001 -- no import machinery of its own
        finally:
            self._busy = False
        if spec is not None and spec.loader is not None:
            loader, execute, seed = spec.loader, spec.loader.exec_module, self._seed

            def exec_module(module: types.ModuleType) -> None:
                execute(module)
                _SEEDERS[name](module, seed)

            loader.exec_module = exec_module
        return spec


def _run_script(name: str, namespace: Dict[str, Any]) -> None:
    path = os.path.abspath(name) if sys.version_info >= (3, 9) else name
    try:
        with open(name, "rb") as file:
            source = file.read()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        sys.stderr.write(
            "%s: can't open file %r: [Errno %s] %s\n" % (sys.executable, path, error.errno, reason)
        )
        raise SystemExit(2) from None
    loaders = sys.modules["_frozen_importlib_external"]
    namespace["__file__"] = path
    namespace["__loader__"] = loaders.SourceFileLoader("__main__", path)
    if sys.version_info < (3, 15):
        namespace["__cached__"] = None
    _put_first_on_path(os.path.dirname(os.path.realpath(name)))
    exec(compile(source, path, "exec", dont_inherit=True), namespace)  # noqa: S102 -- running it is the purpose


def _put_first_on_path(folder: str) -> None:
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, folder)


def _status_of(error: BaseException) -> int:
    """What a fresh interpreter would do and answer when `error` reached its top."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    if isinstance(error, SystemExit):
        return _status_of_exit(error)
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
    _flush(sys.stdout)
    try:
        sys.excepthook(type(error), error.with_traceback(trace), trace)
    except BaseException as second:  # noqa: BLE001 -- a hook of the script failed in its turn
        sys.stderr.write("Error in sys.excepthook:\n")
        sys.__excepthook__(type(second), second, second.__traceback__)
        sys.stderr.write("\nOriginal exception was:\n")
        sys.__excepthook__(type(error), error, trace)
    return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1


def _status_of_exit(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        # As C does it: what doesn't fit a long is -1, and the system keeps the lowest byte.
        return (error.code if -(2**63) <= error.code < 2**63 else -1) & 0xFF
    _flush(sys.stdout)
    sys.stderr.write("%s\n" % (error.code,))
    return 1


def _end(status: int, namespace: Dict[str, Any]) -> None:
    """Do what matters of an interpreter's end, without taking every library apart."""
    threading = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown()  # noqa: SLF001 -- waits for the script's threads
    atexit._run_exitfuncs()  # noqa: SLF001 -- what the interpreter's end calls
    flushed = _flush(sys.stdout)
    _flush(sys.stderr)
    # In the order in which an interpreter clears `__main__`, so that finalizers run.
    for key in [key for key in namespace if key.startswith("_") and not key.startswith("__")]:
        namespace[key] = None
    for key in [key for key in namespace if key != "__builtins__"]:
        namespace[key] = None
    # A file that was never closed gets its text, before a collection may close what lies beneath
    # it. The parent's objects are frozen, so that this looks at the script's own only.
    for thing in gc.get_objects():
        if isinstance(thing, _FLUSHED):
            _flush(thing)
    gc.collect()
    flushed = _flush(sys.stdout) and flushed
    _flush(sys.stderr)
    if status == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    # What libraries in C have printed. Their destructors are not run: those of a hundred
    # shared libraries take longer than all the rest of a call, to tidy up what ends here.
    ctypes.PyDLL(None).fflush(None)
    os._exit(status if flushed or status else 120)


def _flush(stream: Any) -> bool:
    try:
        if stream is not None and not stream.closed:
            stream.flush()
    except Exception:  # noqa: BLE001 -- the stream is whatever the script put there
        return False
    return True


def _open_streams(unbuffered: bool) -> None:
    """Make the standard streams anew, with the encodings that this interpreter chose."""
    sys.stdin = sys.__stdin__ = _text(0, "r", sys.__stdin__, unbuffered=False)  # type: ignore[misc] # as at its start
    sys.stdout = sys.__stdout__ = _text(1, "w", sys.__stdout__, unbuffered=unbuffered)  # type: ignore[misc] # the same
    sys.stderr = sys.__stderr__ = _text(2, "w", sys.__stderr__, unbuffered=unbuffered)  # type: ignore[misc] # the same


def _text(descriptor: int, mode: str, like: Any, unbuffered: bool) -> io.TextIOWrapper:
    raw: Any = io.FileIO(descriptor, mode, closefd=False)
    raw.name = ("<stdin>", "<stdout>", "<stderr>")[descriptor]
    buffer: Any = raw
    if not unbuffered:
        buffer = io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
    interactive = raw.isatty() or (descriptor == 2 and sys.version_info >= (3, 9))
    stream: Any = io.TextIOWrapper(
        buffer,
        encoding=like.encoding,
        errors=like.errors,
        newline=None if mode == "r" else "\n",
        line_buffering=interactive and not unbuffered,
        write_through=unbuffered,
    )
    stream.mode = mode
    return stream  # type: ignore[no-any-return] # it was given attributes that its class doesn't declare


def main(arguments: List[str]) -> NoReturn:
    """Run a seeded cold start: a seed, ``script``, ``module`` or ``command``, a name, arguments."""
    seed, kind, name, *rest = arguments
    option = {"script": [], "module": ["-m"], "command": ["-c"]}[kind]
    sys.path.pop(0)  # what `-c` put there
    run(
        {"seed": int(seed), "kind": kind, "name": name, "arguments": rest, "original": [*option, name, *rest]}
    )
