"""What Python code may do that a site would rather know of before it runs. It is read, never run.

Names are followed through imports, so that ``from os import system as tidy`` is still seen. Who
wants to hide something can: this is for honest authors, and the sandbox is for the others.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from atoll.cli.vetting.findings import Finding, finding
from atoll.dialects.functions.names import Source, Sources, written

#: What gives access to something: the rule, how it is said, and the names with dots. The longest
#: name that fits decides.
_ACCESS = (
    (
        "network",
        "can speak to other machines",
        (
            "socket socketserver ssl http.client http.server urllib.request urllib3 requests httpx aiohttp ftplib "
            "smtplib poplib imaplib nntplib telnetlib xmlrpc websocket websockets paramiko fabric boto3 botocore s3fs "
            "fsspec gcsfs google.cloud azure grpc zmq pika kafka redis pymongo psycopg psycopg2 pymysql MySQLdb ldap3 "
            "nats dns asyncio.open_connection asyncio.start_server"
        ),
    ),
    (
        "process",
        "starts other programs",
        (
            "subprocess pty pexpect sh plumbum rpy2 os.system os.popen os.startfile os.fork os.forkpty os.kill "
            "os.killpg os.posix_spawn os.posix_spawnp os.execl os.execle os.execlp os.execlpe os.execv os.execve "
            "os.execvp os.execvpe os.spawnl os.spawnle os.spawnlp os.spawnlpe os.spawnv os.spawnve os.spawnvp "
            "os.spawnvpe asyncio.create_subprocess_exec asyncio.create_subprocess_shell"
        ),
    ),
    (
        "dynamic-code",
        "runs code that is not written here",
        (
            "eval exec compile __builtins__ builtins.eval builtins.exec builtins.compile runpy code codeop imp "
            "types.FunctionType types.CodeType importlib.util.spec_from_file_location "
            "importlib.util.module_from_spec importlib.machinery"
        ),
    ),
    (
        "unpickling",
        "loads pickled objects",
        "pickle cPickle _pickle marshal shelve dill cloudpickle joblib.load pandas.read_pickle",
    ),
    (
        "native-code",
        "reaches native code",
        "ctypes _ctypes cffi _cffi_backend pyximport numpy.ctypeslib torch.utils.cpp_extension",
    ),
    (
        "environment",
        "reads the process's environment",
        "os.environ os.environb os.getenv os.getenvb",
    ),
)
_HAZARDS = {name: (rule, words) for rule, words, names in _ACCESS for name in names.split()}
#: What is known without being imported.
_BUILT_IN = frozenset({"eval", "exec", "compile", "__builtins__"})
_IMPORTERS = frozenset({"__import__", "importlib.import_module", "builtins.__import__"})
_PATH = re.compile(r"(/[\w.+@-]+)+/?|~([\w./-]*)|[A-Za-z]:[\\/].*")
#: Paths that are an algorithm's own, in every session.
_OWN_PATHS = re.compile(r"/(tmp|computation|dev/null)(/|$)")
_URL = re.compile(r"(https?|ftp|s3|gs|wss?|tcp)://")
_CHANGERS = frozenset(
    "append appendleft add update extend insert setdefault pop popitem popleft clear remove discard".split()
)
_MUTABLE = frozenset("list dict set bytearray defaultdict OrderedDict Counter deque".split())


@dataclass(frozen=True, slots=True)
class _Hit:
    rule: str
    #: What hits on other lines are counted with.
    subject: str
    line: int
    words: str


def hazards(source: Source, sources: Sources, shown: str) -> Iterator[Finding]:
    """What one module may do.

    Args:
        source: the module.
        sources: it and those beside it, whose names are followed.
        shown: what its file is called to people.
    """
    reader = _Reader(source, sources)
    grouped: dict[tuple[str, str], list[_Hit]] = {}
    for hit in reader.hits():
        grouped.setdefault((hit.rule, hit.subject), []).append(hit)
    for (rule, _), hits in grouped.items():
        first = min(hits, key=lambda hit: hit.line)
        others = sorted({hit.line for hit in hits} - {first.line})
        yield finding(rule, shown, first.line, first.words + _also(others))


class _Reader:
    def __init__(self, source: Source, sources: Sources) -> None:
        self._source = source
        self._sources = sources

    def hits(self) -> Iterator[_Hit]:
        inner = {id(node.value) for node in ast.walk(self._source.tree) if isinstance(node, ast.Attribute)}
        for node in ast.walk(self._source.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield from self._named(alias.name, node.lineno)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                for alias in node.names:
                    yield from self._named(f"{node.module}.{alias.name}", node.lineno)
            elif isinstance(node, ast.Attribute | ast.Name) and id(node) not in inner:
                yield from self._used(node)
            elif isinstance(node, ast.Call):
                yield from self._called(node)
        yield from self._stars()
        yield from _kept(self._source.tree)

    def _named(self, name: str, line: int) -> Iterator[_Hit]:
        """A name with dots that comes from elsewhere."""
        if self._sources.module_of(name) is not None:
            return
        parts = name.split(".")
        for count in range(len(parts), 0, -1):
            start = ".".join(parts[:count])
            if start in _HAZARDS:
                rule, words = _HAZARDS[start]
                yield _Hit(rule, start, line, f"{start} {words}")
                return

    def _used(self, node: ast.Attribute | ast.Name) -> Iterator[_Hit]:
        name = written(node)
        if name is None:
            return
        if name in _BUILT_IN or self._sources.binds(self._source, name):
            yield from self._named(self._sources.name_of(self._source, node), node.lineno)

    def _called(self, call: ast.Call) -> Iterator[_Hit]:
        name = self._sources.name_of(self._source, call.func)
        first = call.args[0] if call.args else None
        text = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None
        if name in _IMPORTERS:
            if text is None:
                yield _Hit("dynamic-code", "import", call.lineno, "imports a module whose name is worked out")
            else:
                yield from self._named(text, call.lineno)
            return
        yield from self._unpickled(call, name)
        for text in _texts(call):
            if _URL.match(text):
                yield _Hit("network", "url", call.lineno, f"names an address elsewhere, {_cut(text)}")
            elif _PATH.fullmatch(text) and not _OWN_PATHS.match(text) and name != "re.compile":
                yield _Hit("files", "path", call.lineno, f"names a path of the machine, {_cut(text)}")

    def _unpickled(self, call: ast.Call, name: str) -> Iterator[_Hit]:
        options = {keyword.arg: keyword.value for keyword in call.keywords}
        if name in ("numpy.load", "numpy.lib.format.read_array") and _is(options.get("allow_pickle"), True):
            yield _Hit("unpickling", "numpy", call.lineno, f"{name} is allowed to load pickled objects")
        elif name == "torch.load" and not _is(options.get("weights_only"), True):
            yield _Hit(
                "unpickling",
                "torch",
                call.lineno,
                "torch.load without weights_only=True loads pickled objects",
            )
        elif name in ("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"):
            loader = options.get("Loader", call.args[1] if len(call.args) > 1 else None)
            if loader is None or not (written(loader) or "").endswith("SafeLoader"):
                yield _Hit(
                    "unpickling",
                    "yaml",
                    call.lineno,
                    f"{name} makes objects of any class: use yaml.safe_load",
                )
        elif isinstance(call.func, ast.Attribute) and call.func.attr == "to_pickle":
            yield _Hit(
                "unpickling",
                "to_pickle",
                call.lineno,
                "to_pickle writes a pickled object, for somebody to load",
            )

    def _stars(self) -> Iterator[_Hit]:
        for module, line in self._source.stars:
            if self._sources.module_of(module) is None and module != "atoll_algorithm":
                yield _Hit("star-import", module, line, f"takes every name of {module}")


def _kept(tree: ast.Module) -> Iterator[_Hit]:
    """Values of the module that functions change: they outlast a call."""
    kept = {
        target.id
        for statement in tree.body
        if isinstance(statement, ast.Assign | ast.AnnAssign) and _is_mutable(statement.value)
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
        if isinstance(target, ast.Name)
    }
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        nodes = list(ast.walk(function))
        shared = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
        own = {node.arg for node in nodes if isinstance(node, ast.arg)}
        own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        for node in nodes:
            name = _changed(node) if isinstance(node, ast.expr) else None
            if isinstance(node, ast.expr) and name and (name in shared or (name in kept and name not in own)):
                words = f"{function.name} changes {name}, which outlasts the call"
                yield _Hit("global-state", name, node.lineno, words)


def _changed(node: ast.expr) -> str | None:
    """The name whose value a statement or an expression changes."""
    match node:
        case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
            return name
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attribute)) if attribute in _CHANGERS:
            return name
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return name
    return None


def _is_mutable(node: ast.expr | None) -> bool:
    if isinstance(node, ast.Call):
        return (written(node.func) or "").rpartition(".")[2] in _MUTABLE
    return isinstance(node, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)


def _texts(call: ast.Call) -> Iterator[str]:
    """The texts that a call is given, and how those begin that are put together."""
    for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
        begins = argument.values[0] if isinstance(argument, ast.JoinedStr) and argument.values else argument
        if isinstance(begins, ast.Constant) and isinstance(begins.value, str):
            yield begins.value


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _cut(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:59]}…")


def _also(lines: list[int]) -> str:
    if not lines:
        return ""
    named = ", ".join(map(str, lines[:5])) + (f" and {len(lines) - 5} more" if len(lines) > 5 else "")
    return f" (also on line{'s' * (len(lines) > 1)} {named})"
