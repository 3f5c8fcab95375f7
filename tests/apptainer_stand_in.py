"""A STAND-IN for the program ``apptainer``, for tests: the real one can't be had where they run.

It understands the words that Atoll uses and no others, refuses to run what isn't kept in, and builds
the box with bubblewrap. What it shows is that Atoll's words fit together. Of the real program it shows
nothing.
"""

from __future__ import annotations

import asyncio
import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from atoll.runtimes import bwrap, view
from atoll.runtimes.rooted import show
from atoll.runtimes.rootfs import find_python
from atoll.runtimes.sif.described import describe
from atoll.runtimes.sif.kept import Root, Roots

#: The flags that it knows: those that stand alone, and those behind which a word follows.
_PLAIN = {"--containall", "--no-home", "--cleanenv", "--net", "--no-eval", "--no-privs", "--no-init"}
_VALUED = {
    *("--network", "--hostname", "--no-mount", "--security", "--mount", "--bind", "--pwd"),
    *("--memory", "--memory-swap", "--cpus", "--pids-limit"),
}
#: Without these an algorithm is not kept in.
_NEEDED = {"--containall", "--no-home", "--cleanenv", "--net"}


def install(
    folder: Path, cache: Path, *, version: str = "apptainer version 1.3.4", name: str = "apptainer"
) -> Path:
    """Write a program of that name which is this one."""
    program = folder / name
    sources = ":".join([str(Path(__file__).resolve().parent.parent), *filter(None, sys.path)])
    program.write_text(
        f"#!/bin/sh\nexport PYTHONPATH='{sources}'\n"
        f"exec {sys.executable} -m tests.apptainer_stand_in {cache} '{version}' \"$@\"\n"
    )
    program.chmod(0o755)
    return program


def main(cache: str, version: str, *words: str) -> None:
    """Do what the words say."""
    if words == ("--version",):
        sys.stdout.write(f"{version}\n")
        return
    if words[:2] != ("--silent", "exec"):
        _fail(f"unknown command {words[:2]}")
    flags, image, command = _parse(list(words[2:]))
    if missing := _NEEDED - {flag for flag, _ in flags}:
        _fail(f"what isn't kept in is not run: {sorted(missing)}")
    if ("--network", "none") not in flags:
        _fail("only no network is there")
    root = asyncio.run(_unpack(Path(cache), Path(image)))
    _run(
        root.folder,
        flags,
        command,
        "SINGULARITYENV_" if version.startswith("singularity") else "APPTAINERENV_",
    )


async def _unpack(cache: Path, image: Path) -> Root:
    roots = Roots(cache)
    return await roots.open(image)  # It isn't closed: what is started has it from now on.


def _parse(words: list[str]) -> tuple[list[tuple[str, str]], str, list[str]]:
    flags = []
    while words[0].startswith("-"):
        flag = words.pop(0)
        if flag not in _PLAIN | _VALUED:
            _fail(f"unknown flag: {flag}")
        flags.append((flag, words.pop(0) if flag in _VALUED else ""))
    return flags, words[0], words[1:]


def _run(root: Path, flags: list[tuple[str, str]], command: list[str], prefix: str) -> NoReturn:
    lines: list[view.Line] = [
        *view.machine(),
        ("memory", "mode=1777", "/tmp"),
        ("memory", "mode=0755", "/home"),
    ]
    # Where root makes them on its way, bubblewrap shuts them to all others.
    lines += [
        ("folder", "", f"/run{inner}") for inner in ("", "/atoll", "/atoll/lib", "/atoll/serve", "/stand-in")
    ]
    folder, user = "/", {}
    for flag, value in flags:
        if flag in ("--mount", "--bind"):
            lines.append(_mount(flag, value))
        elif flag == "--pwd":
            folder = value
        elif flag == "--security":
            kind, _, number = value.partition(":")
            user[kind] = number
    variables = {"PATH": "/usr/local/bin:/usr/bin:/bin", **describe(root).environment, "HOME": "/home"}
    handed = {
        name.removeprefix(prefix): value for name, value in os.environ.items() if name.startswith(prefix)
    }
    variables |= handed
    if find_python(root, command[:1], variables["PATH"]) is None:
        _fail(f'"{command[0]}": executable file not found in $PATH')
    walls = [
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
        "--die-with-parent",
        "--clearenv",
    ]
    if ("--no-init", "") in flags:
        walls.append("--as-pid-1")
    if user:
        command = _given_up(user, lines) + command
    else:
        walls += ["--unshare-user", "--cap-drop", "ALL"]
    texts: list[int] = []
    words = [
        word for line in show(root, [*_open(root, lines), *lines]) for word in bwrap.words_of(line, texts)
    ]
    for text in texts:
        os.set_inheritable(text, True)
    settings = [word for name, value in variables.items() for word in ("--setenv", name, value)]
    os.execvp(
        "bwrap", ["bwrap", *words, "--remount-ro", "/", *walls, *settings, "--chdir", folder, "--", *command]
    )


def _open(root: Path, lines: list[view.Line]) -> list[view.Line]:
    """The folders above what is shown: where root makes them on its way, bubblewrap shuts them to all others."""
    above = {str(folder) for _, _, target in lines for folder in Path(target).parents}
    return [("folder", "", folder) for folder in sorted(above) if not (root / folder[1:]).exists()]


def _given_up(user: dict[str, str], lines: list[view.Line]) -> list[str]:
    """Words with which root becomes another user inside: by a program of this machine, with all that it needs."""
    program = shutil.which("setpriv")
    if program is None:
        _fail("there is no setpriv")
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    needed = [word for line in said.splitlines() for word in line.split() if word.startswith("/")]
    lines += [
        ("read", os.path.realpath(path), f"/run/stand-in/{Path(path).name}") for path in [*needed, program]
    ]
    linker = next(Path(path).name for path in needed if "ld-" in path)
    changed = ["--reuid", user["uid"], "--regid", user["gid"], "--clear-groups", "--no-new-privs", "--"]
    return [
        *(f"/run/stand-in/{linker}", "--library-path", "/run/stand-in", "/run/stand-in/setpriv"),
        *changed,
    ]


def _mount(flag: str, value: str) -> view.Line:
    if flag == "--bind":
        source, target, mode = value.split(":")
        return "write" if mode == "rw" else "read", source, target
    (fields,) = csv.reader([value])
    named = dict(field.split("=", 1) for field in fields if "=" in field)
    if named.pop("type") != "bind":
        _fail("only binds are there")
    return "read" if "ro" in fields else "write", named["source"], named["destination"]


def _fail(why: str) -> NoReturn:
    sys.stderr.write(f"FATAL:   {why}\n")
    sys.exit(255)


if __name__ == "__main__":
    main(*sys.argv[1:])
