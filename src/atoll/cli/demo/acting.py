"""What ``atoll demo`` does, and what it says meanwhile."""

from __future__ import annotations

import sys
from pathlib import Path

from atoll.cli.demo import performance, stage
from atoll.cli.demo.defaults import DEFAULT
from atoll.cli.exits import DONE, FAILED, UNUSABLE
from atoll.cli.refusal import print_document
from atoll.model.errors import AtollError, Unusable


def act(folder: Path, sites: int, port: int, *, as_json: bool, detach: bool) -> int:
    """Start a demo, or find the one that runs, and show it; the command's exit status."""
    try:
        state = _running(folder) or performance.begin(folder, sites, port, _say)
    except AtollError as error:
        return _refused(error, as_json=as_json)
    if detach:
        if as_json:
            print_document(state.document())
        else:
            _tell(state, folder)
        return DONE
    # Imported here: a demo that shows nothing needs no client.
    from atoll.cli.demo.tour import tour

    status = tour(state, as_json=as_json)
    _tell(state, folder)
    return status


def end(folder: Path, *, as_json: bool) -> int:
    """End a demo; the command's exit status."""
    try:
        state = performance.end(folder)
        if state is None:
            raise Unusable(f"there is no demo in {folder}: name its folder with --dir")
    except AtollError as error:
        return _refused(error, as_json=as_json)
    if as_json:
        print_document({"stopped": state.url, "dir": state.dir})
    else:
        print(f"The demo at {state.url} has ended, and {folder} is gone.")
    return DONE


def _running(folder: Path) -> stage.State | None:
    """The demo that runs in a folder already."""
    state = stage.read_state(folder)
    if state is not None and not state.is_running:
        raise Unusable(
            f"a demo in {folder} has lost some of its processes: end it with 'atoll demo --stop{_named(folder)}', and "
            "begin anew"
        )
    if state is not None:
        _say(f"A demo is running already at {state.url}.")
    return state


def _tell(state: stage.State, folder: Path) -> None:
    """Say how the demo is reached, and how it ends."""
    _say(
        f"\nThe federation goes on.\n"
        f"  hub        {state.url}\n"
        f"  account    {state.username}, password {state.password}\n"
        f"  token      {state.token}\n"
        f"  nodes      {', '.join(state.nodes)}\n"
        f"  logs       {folder / stage.LOGS}\n"
        f"In Python:   atoll.connect({state.url!r}, token=…)\n"
        f"To end it:   {_atoll()} demo --stop{_named(folder)}"
    )


def _atoll() -> str:
    """How this command is typed where somebody stands now, with an environment that is active or not."""
    here = Path(sys.executable).with_name("atoll")
    return str(here.relative_to(Path.cwd())) if here.is_relative_to(Path.cwd()) else "atoll"


def _named(folder: Path) -> str:
    return "" if folder == DEFAULT.absolute() else f" --dir {folder}"


def _say(text: str) -> None:
    """Say something; what is printed on the other stream comes before it."""
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)


def _refused(error: AtollError, *, as_json: bool) -> int:
    for line in str(error).splitlines():
        _say(f"error: {line}")
    if as_json:
        print_document({"error": {"type": type(error).__name__, "message": str(error)}})
    return UNUSABLE if isinstance(error, Unusable) else FAILED
