"""Looking into the images of what was asked for, before anything is planned.

An engine, or the file, is asked. The image's files are read, and nothing of it is run for that.
"""

from __future__ import annotations

from atoll.algorithms.images import describe, named_in, pinned
from atoll.algorithms.manifest import ImageNamed
from atoll.model.errors import AlgorithmFailed, RuntimeUnavailable
from atoll.runtimes.facts import ImageFacts
from atoll.simulator.arguments import Arguments
from atoll.simulator.coinstac import compspecs, read_compspec
from atoll.simulator.dialects import is_coinstac
from atoll.simulator.images import ImageRuntime, Packed


async def look(asked: Arguments, runtime: ImageRuntime) -> Packed:
    """Find the images of what was asked for, and what they hold.

    Raises:
        RuntimeUnavailable: one isn't on this machine, or nothing names one.
        SpecInvalid: one doesn't say what it holds.
    """
    try:
        return await _look(asked, runtime)
    except AlgorithmFailed as error:
        # No algorithm has begun: it is the engine that refuses.
        raise RuntimeUnavailable(str(error)) from None


async def _look(asked: Arguments, runtime: ImageRuntime) -> Packed:
    if asked.packed:
        assert asked.image is not None
        facts = await _facts(runtime, asked.image)
        async with runtime.files(facts) as read:
            manifest = await describe(facts, read, dialect=asked.dialect)
        return Packed(manifest=manifest)
    specs = compspecs(asked) if is_coinstac(asked) else None
    if asked.image is not None:
        named = pinned(await _facts(runtime, asked.image))
        names = {name for path in specs or () for name in named_in(read_compspec(path), str(path))}
        return Packed(images=dict.fromkeys(names, named), around=named)
    if specs is None:
        raise RuntimeUnavailable(
            f"--runtime {runtime.name} runs images, and nothing says which one {asked.path} runs in. Build one with "
            "atoll image build, or name one that has what the code needs with --image"
        )
    images: dict[str, ImageNamed] = {}
    for path in specs:
        for name in named_in(read_compspec(path), str(path)):
            if name not in images:
                images[name] = pinned(await _facts(runtime, name))
    return Packed(images=images)


async def _facts(runtime: ImageRuntime, name: str) -> ImageFacts:
    facts = await runtime.facts(name)
    if facts is None:
        raise RuntimeUnavailable(
            f"the image {name} is not on this machine. Fetch it (docker pull, podman pull), or build it: atoll image "
            "build PATH --tag NAME"
        )
    return facts
