"""From what an image says of itself to a manifest: the dialect, how it is called, what it offers.

It is looked for in this order:

1. the label ``org.atoll.manifest``, which `atoll image build` writes;
2. a COINSTAC computation's ``compspec.json``, in ``/computation`` or where the image works;
3. the variable ``PKG_NAME``, which every image of a vantage6 algorithm in Python sets.

The image's files are read, and nothing of them is run.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator
from dataclasses import replace

from atoll.algorithms.describing import offered_by_vantage6
from atoll.algorithms.manifest import ImageNamed, Manifest, decode, is_image_name, is_python
from atoll.algorithms.ports import ports_of
from atoll.algorithms.requires import required_imports
from atoll.dialects.vantage6 import manifest as vantage6
from atoll.dialects.vantage6.wrapping import WRAPPER
from atoll.engine.running import ImageKind
from atoll.model.errors import JobRefused, SpecInvalid
from atoll.model.work import Role
from atoll.runtimes.containers.reference import read_reference
from atoll.runtimes.facts import ImageFacts, ImageFiles
from atoll.runtimes.planning import unwrapped

#: The label with the manifest of what is in an image.
LABEL = "org.atoll.manifest"
#: Where algorithms find their code.
_CODE = "/computation"
#: Minor versions of Python 3 whose libraries are looked through.
_PYTHONS = range(8, 16)
#: Modules of a package that are read, and bytes of each.
_MODULES_MAX = 400
_SOURCE_BYTES_MAX = 4_000_000
#: What somebody may say of an image of vantage6 that doesn't tell.
_GENERATIONS = {"vantage6": 4, "vantage6-4": 4, "vantage6-5": 5}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


async def describe(
    facts: ImageFacts, read: ImageFiles, *, image: ImageNamed | None = None, dialect: str = "auto"
) -> Manifest:
    """What an image holds.

    Args:
        facts: what it says of itself.
        read: reads its files.
        image: how it is named to others. Default: as `pinned` names it.
        dialect: how it is written; ``auto``: as it says. ``vantage6-4`` and ``vantage6-5`` name the
            generation, where nothing else tells it.

    Raises:
        SpecInvalid: it says nothing that is known here.
    """
    named = image or pinned(facts)
    asked, dialect = dialect, dialect.partition("-")[0]
    labelled = _labelled(facts)
    if labelled is not None and dialect in ("auto", labelled.dialect):
        wrapped = labelled.dialect == "vantage6" and not labelled.command and _starts_wrapper(facts)
        command = WRAPPER if wrapped else labelled.command
        return replace(labelled, kind="image", image=named, aggregator_image=None, command=command)
    if dialect in ("auto", "coinstac"):
        for folder in dict.fromkeys((_CODE, facts.working_directory)):
            path = posixpath.join(folder, "compspec.json")
            text = await read(path)
            if text is not None:
                return await _computation(_utf8(text, path, facts), f"{facts.name}:{path}", named, read)
    package = facts.environment.get("PKG_NAME", "")
    if dialect in ("auto", "vantage6") and package:
        found = await _package(package, facts, named, read, asked)
        return replace(found, ports=ports_of(facts.exposed_ports, facts.labels))
    if dialect == "vantage6":
        return assumed(facts.name, named, asked)
    raise SpecInvalid(
        f"{facts.name} doesn't say what it holds: there is no label {LABEL}, no compspec.json in {_CODE}"
        f"{_beside(facts.working_directory)}, and no variable PKG_NAME as images of vantage6 algorithms have it. "
        "Build it with atoll image build, or name the folder with its compspec.json"
    )


async def describe_as(manifest: Manifest, facts: ImageFacts, read: ImageFiles) -> Manifest:
    """What an image holds, in the dialect of what somebody says of it.

    Raises:
        SpecInvalid: it says nothing that is known here.
    """
    asked = manifest.dialect
    if asked == "vantage6":
        asked = f"vantage6-{manifest.generation}"
    named = ImageNamed(kind=facts.kind, name=facts.name, digest=facts.id)
    return await describe(facts, read, image=named, dialect=asked)


def describe_compspec(
    text: str, origin: str, image: ImageNamed, aggregator_image: ImageNamed | None = None
) -> Manifest:
    """A COINSTAC computation in an image, as its compspec.json tells it.

    Args:
        text: of the compspec.json.
        origin: where it was read, for sentences.
        image: the image.
        aggregator_image: the aggregator's, where it is another.

    Raises:
        SpecInvalid: with every fault of the text.
    """
    # Late: pydantic takes as long to import as all else that a function needs.
    from atoll.dialects.coinstac.spec import parse_compspec

    spec, _ = parse_compspec(text, origin)
    serves = spec.version_of_protocol == 2
    # What starts a computation of protocol 2 is the image's own affair: the spec's command is of no effect.
    site, aggregator = ((), ()) if serves else map(spec.command_for, (Role.SITE, Role.AGGREGATOR))
    return Manifest(
        dialect="coinstac",
        name=spec.name,
        kind="image",
        image=image,
        aggregator_image=aggregator_image if spec.decentralized and aggregator_image != image else None,
        command=site,
        aggregator_command=aggregator if spec.decentralized else (),
        aggregated=serves and spec.decentralized,
        serves=serves,
        compspec=text,
    )


def named_in(text: str, origin: str) -> tuple[str, str]:
    """The images that a compspec.json names: the sites', and the aggregator's.

    Raises:
        SpecInvalid: it names none, or has faults.
    """
    # Late, as above.
    from atoll.dialects.coinstac.spec import parse_compspec

    spec, _ = parse_compspec(text, origin)
    site, aggregator = spec.image_for(Role.SITE), spec.image_for(Role.AGGREGATOR)
    if not site or not aggregator:
        raise SpecInvalid(f"{origin} names no image: expected one as computation.dockerImage")
    return site, aggregator


def assumed(name: str, image: ImageNamed, dialect: str) -> Manifest:
    """An image that can't be looked into here, taken for what somebody says that it is.

    Args:
        name: what it is called.
        image: the image.
        dialect: ``vantage6`` (of generation 4), or ``vantage6-4``, ``vantage6-5``.

    Raises:
        SpecInvalid: of that dialect more would have to be known.
    """
    generation = _GENERATIONS.get(dialect)
    if generation is None:
        raise SpecInvalid(
            f"{name} can't be looked into here, as no container engine can be reached: say which dialect it is "
            "written in (vantage6-4 or vantage6-5), or name the folder with its compspec.json. Images of other "
            "algorithms are submitted where Docker or Podman runs"
        )
    return _other_language(repository(name), image, generation)


def pinned(facts: ImageFacts) -> ImageNamed:
    """An image, by the digest under which others find it: its registry's, or else its own id.

    Raises:
        SpecInvalid: it has a name that nobody could ask for.
    """
    name = facts.name.partition("@")[0]
    if facts.kind is ImageKind.SIF:
        return ImageNamed(kind=facts.kind, name=name, digest=facts.id)
    known = [entry.rpartition("@") for entry in facts.digests]
    own = [(found, digest) for found, _, digest in known if same_repository(found, name)]
    asked = facts.name.partition("@")[2]
    for found, digest in own:
        if not asked or digest == asked:
            return ImageNamed(name=name if is_image_name(name) else found, digest=digest)
    if known and not is_image_name(name):  # It was asked for by its id.
        return ImageNamed(name=known[0][0], digest=known[0][2])
    if not is_image_name(name):
        raise SpecInvalid(
            f"{facts.name[:80]!r} is no name of an image: expected one such as example/mean:1.0"
        )
    return ImageNamed(name=name, digest=asked or facts.id)


def repository(name: str) -> str:
    """An image's name without its tag and digest."""
    name = name.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def same_repository(one: str, other: str) -> bool:
    """Whether two names mean the same images, whatever their tags are."""
    try:
        return read_reference(one).repository == read_reference(other).repository
    except JobRefused:
        return False


def parse(text: str) -> tuple[str, str | None]:
    """The name and the digest of an image that somebody names: ``docker:NAME``, ``NAME@sha256:…``.

    Raises:
        SpecInvalid: nobody could ask for it.
    """
    name, at, digest = text.removeprefix("docker:").partition("@")
    if not is_image_name(name) or (at and not _DIGEST.match(digest)):
        # It may be an address with somebody's password in it, and isn't quoted.
        raise SpecInvalid(
            "this is no name of an image: expected one such as registry.example/group/mean:1.0, without a user or a "
            "password, and behind it nothing, or @sha256: and 64 hexadecimal digits"
        )
    return name, digest or None


def _labelled(facts: ImageFacts) -> Manifest | None:
    """What the image's builder has written down."""
    if LABEL not in facts.labels:
        return None
    try:
        found = decode(facts.labels[LABEL].encode())
    except JobRefused as error:
        raise SpecInvalid(f"{facts.name} has a label {LABEL} that can't be used: {error}") from None
    # What the code requires is in the image. What is imported from there can be imported ahead.
    libraries = (*found.libraries, *(name for name in found.requires if name.isidentifier()))
    return replace(found, requires=(), libraries=tuple(dict.fromkeys(libraries)))


async def _computation(text: str, origin: str, image: ImageNamed, read: ImageFiles) -> Manifest:
    manifest = describe_compspec(text, origin, image)
    sources = {}
    for command in (manifest.command, manifest.aggregator_command):
        for word in command[1:] if command and is_python(command[0]) else ():
            if word.endswith(".py") and word.startswith("/"):
                sources[word.rpartition("/")[2]] = (await read(word) or b"").decode(errors="replace")
    return replace(manifest, libraries=required_imports(sources))


async def _package(
    package: str, facts: ImageFacts, image: ImageNamed, read: ImageFiles, dialect: str
) -> Manifest:
    assumed_generation = _GENERATIONS.get(dialect, 4)
    sources = await _sources(package, facts, read)
    if not sources:
        return _other_language(package, image, assumed_generation)
    seen = vantage6.read_manifest(package, sources)
    return Manifest(
        dialect="vantage6",
        name=package,
        kind="image",
        image=image,
        target=package,
        # What starts the usual wrapper is started as a bundle's: it tells more of tables.
        command=WRAPPER if _starts_wrapper(facts) else (),
        generation=seen.generation or assumed_generation,
        functions=tuple(offered_by_vantage6(function) for function in seen.functions),
        libraries=required_imports(sources),
    )


def _starts_wrapper(facts: ImageFacts) -> bool:
    """Whether an image starts the wrapper of vantage6, and nothing before it."""
    command = unwrapped(facts.started)
    if len(command) != len(WRAPPER) or not is_python(posixpath.basename(command[0])):
        return False
    return command[1] == WRAPPER[1] and "".join(command[2].split()).rstrip(";") == "".join(WRAPPER[2].split())


def _other_language(name: str, image: ImageNamed, generation: int) -> Manifest:
    """An algorithm whose functions nobody here can read: any may be asked for."""
    return Manifest(dialect="vantage6", name=name, kind="image", image=image, generation=generation)


async def _sources(package: str, facts: ImageFacts, read: ImageFiles) -> dict[str, str]:
    """The modules of a package that its own module leads to, by their paths from where it is found."""
    if not re.fullmatch(r"\w[\w.-]*", package):
        return {}
    for folder in _libraries(facts):
        for first in (f"{package}/__init__.py", f"{package}.py"):
            text = await read(posixpath.join(folder, first))
            if text is not None:
                return await _followed(folder, first, text, read)
    return {}


async def _followed(folder: str, first: str, text: bytes, read: ImageFiles) -> dict[str, str]:
    sources: dict[str, str] = {}
    waiting, tried = [(first, text)], {first}
    while waiting and len(sources) < _MODULES_MAX:
        file, content = waiting.pop(0)
        if len(content) > _SOURCE_BYTES_MAX:
            continue
        sources[file] = content.decode(errors="replace")
        for candidate in _imported(file, sources[file]):
            if candidate not in tried and len(tried) < 4 * _MODULES_MAX:
                tried.add(candidate)
                found = await read(posixpath.join(folder, candidate))
                if found is not None:
                    waiting.append((candidate, found))
    return sources


def _imported(file: str, text: str) -> Iterator[str]:
    """The files of the same package that a module may import from."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    package = file.partition("/")[0]
    inner = file.rpartition("/")[0].split("/")
    for node in ast.walk(tree):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = inner[: len(inner) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            modules = [base, *(f"{base}.{alias.name}" for alias in node.names if alias.name != "*")]
        for module in modules:
            if module == package or module.startswith(f"{package}."):
                path = module.replace(".", "/")
                yield f"{path}/__init__.py"
                yield f"{path}.py"


def _libraries(facts: ImageFacts) -> Iterator[str]:
    """The folders of an image in which a Python package may lie."""
    seen = dict.fromkeys((facts.working_directory, f"{facts.working_directory}/src"))
    seen |= dict.fromkeys(("/app", "/app/src", _CODE, "/algorithm"))
    seen |= dict.fromkeys(one for one in facts.environment.get("PYTHONPATH", "").split(":") if one)
    yield from (posixpath.normpath(folder) for folder in seen if folder.startswith("/"))
    programs = [facts.environment.get("VIRTUAL_ENV", "") + "/bin"]
    programs += facts.environment.get("PATH", "/usr/local/bin:/usr/bin").split(":")
    prefixes = [folder.removesuffix("/bin") for folder in programs if folder.endswith("/bin")]
    prefixes += ["/usr/local", "/usr", "/opt/venv", "/app/.venv", "/venv"]
    for prefix in dict.fromkeys(prefix for prefix in prefixes if prefix.startswith("/")):
        for minor in _pythons(facts):
            yield f"{prefix}/lib/python3.{minor}/site-packages"
            if prefix in ("/usr", "/usr/local"):
                yield f"{prefix}/lib/python3.{minor}/dist-packages"
    yield "/usr/lib/python3/dist-packages"


def _pythons(facts: ImageFacts) -> list[int]:
    """Minor versions of Python 3, the one that an image names first."""
    named = re.match(r"3\.([0-9]{1,2})\b", facts.environment.get("PYTHON_VERSION", ""))
    return sorted(_PYTHONS, key=lambda minor: (not named or minor != int(named[1]), -minor))


def _utf8(text: bytes, path: str, facts: ImageFacts) -> str:
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecInvalid(f"{path} in {facts.name} is not UTF-8 (at byte {error.start})") from None


def _beside(working_directory: str) -> str:
    return "" if working_directory in (_CODE, "") else f" or in {working_directory}"
