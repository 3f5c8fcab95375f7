"""The live view of functions as it comes out of a terminal, while it moves and when it has ended."""

from __future__ import annotations

import fcntl
import io
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.console import Console
from tests.unit.cli.playing import Clock, Play, seats
from tests.unit.cli.terminal import Terminal

from atoll.cli.live import LiveView

ISLANDS = ("alpha", "beta", "gamma")


class Watched:
    """A live view whose terminal is looked at after each refresh."""

    def __init__(self, *, width: int = 80, height: int = 24) -> None:
        self.clock = Clock()
        self.terminal = Terminal(width=width, height=height)
        self._file = io.StringIO()
        console = Console(file=self._file, force_terminal=True, width=width, height=height)
        self.view = LiveView(console, clock=self.clock, iterates=False)
        self._read = 0

    def look(self) -> list[str]:
        """The screen after a refresh."""
        self.view.refresh()
        written = self._file.getvalue()
        # A terminal's driver begins each line at its beginning.
        self.terminal.feed(written[self._read :].replace("\n", "\r\n"))
        self._read = len(written)
        return self.terminal.screen


def test_the_picture_is_drawn_in_place_while_rounds_come_and_go() -> None:
    watched = Watched()
    played = Play(watched.view, watched.clock, sites=seats(*ISLANDS))
    assert " mean  3 sites · bubblewrap" == watched.look()[0].partition("    ")[0]

    played.central()
    for _ in range(60):
        played.round()
        watched.look()
    number = played.ask()
    played.start("beta", number=number)
    watched.clock.now += 2

    assert [
        " mean  3 sites · bubblewrap                                     61 rounds  0:32",
        "",
        "                            now      last     sent  recent calls",
        " ▸  alpha  asks            32 s    0.50 s    72 kB  ████████████████",
        " ●  beta   working        2.0 s    0.50 s    72 kB  ████████████████",
        " ○  gamma  waits                   0.50 s    72 kB  ████████████████",
        "",
        " 180 calls · 216 kB sent · waiting for beta",
        "",
        " ▸ mean at alpha  32 s  61 rounds · 183 calls",
        "   round 58 · moments  ✓✓✓  alpha beta gamma  0.50 s",
        "   round 59 · moments  ✓✓✓  alpha beta gamma  0.50 s",
        "   round 60 · moments  ✓✓✓  alpha beta gamma  0.50 s",
        "   round 61 · moments  ○●○  alpha beta gamma  2.0 s",
    ] == watched.look()
    # Sixty rounds have moved nothing off the screen.
    assert [] == watched.terminal.gone

    played.view.ended()


@pytest.mark.parametrize(("width", "height"), [(60, 12), (80, 24), (132, 43)])
def test_a_tree_that_grows_and_shrinks_never_scrolls(width: int, height: int) -> None:
    watched = Watched(width=width, height=height)
    names = [f"site{number}" for number in range(8)]
    played = Play(watched.view, watched.clock, sites=seats(*names))
    played.central("site0")
    for _ in range(3):
        outer = played.ask(asker="site0")
        played.start(*names, number=outer)
        for name in names:
            inner = played.ask(asker=name, within=outer)
            played.start(*names, number=inner)
            played.tell("site3", 0.5, "x" * 300)
            assert len(watched.look()) <= height
        for name in names:
            played.end(name, number=outer)
            assert len(watched.look()) <= height
        played.answer(outer)

    assert [] == watched.terminal.gone
    played.view.ended()


def test_what_an_algorithm_says_can_t_move_the_cursor() -> None:
    """The terminal of this test refuses every control but those of a live view."""
    watched = Watched()
    evil = "\x1b[10A\x1b[2J\x07\x9b5A\r\n\x1b]0;title\x07"
    played = Play(watched.view, watched.clock, sites=seats("alpha", "beta"), function=evil)
    played.central()
    number = played.ask(function=evil)
    played.start("beta", number=number)
    played.tell("beta", 0.5, evil)
    played.tell("alpha", None, evil)
    watched.view.warned(evil.replace("\n", ""))
    screen = "\n".join(watched.look())

    assert "\\x1b[10A\\x1b[2J\\x07\\u009b5A\\r" in screen
    played.view.ended()


def test_a_terminal_that_gets_narrower_is_drawn_for_what_it_is() -> None:
    watched = Watched(width=120, height=40)
    played = Play(watched.view, watched.clock, sites=seats(*ISLANDS))
    played.central()
    played.round()
    assert max(map(len, watched.look())) > 80

    watched.view.console.width = 60
    watched.look()

    assert max(map(len, watched.look()[:9])) <= 60
    played.view.ended()


@pytest.mark.acceptance
@pytest.mark.timeout(120)
def test_a_run_in_a_real_terminal_shows_its_calls_and_gives_the_terminal_back(tmp_path: Path) -> None:
    """The command itself, with a pseudo-terminal for a screen."""
    (tmp_path / "mean.py").write_text(
        "from atoll_algorithm import Sites, central, partial, progress\n"
        "@partial\ndef one(number: int) -> int:\n    progress(0.5, 'half')\n    return number\n"
        "@central\ndef total(sites: Sites, number: int) -> int:\n"
        "    return sum(sum(sites.call(one, number=number)) for _ in range(3))\n"
    )
    (tmp_path / "federation.yaml").write_text("sites:\n  alpha:\n  beta:\n  gamma:\n")
    command = [sys.executable, "-m", "atoll", "simulate", str(tmp_path / "mean.py"), "--function", "total"]
    command += ["-f", str(tmp_path / "federation.yaml"), "--arg", "number=2", "--runtime", "process"]
    command += ["--output", str(tmp_path / "out")]
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 90, 0, 0))
    environment = {
        key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")
    }
    running = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment | {"TERM": "xterm"}
    )
    os.close(theirs)
    terminal = Terminal(width=90, height=40)
    written = b""
    while chunk := _read(ours):
        written += chunk
    os.close(ours)
    terminal.feed(written.decode())

    assert 0 == running.wait(60), terminal.screen
    screen = terminal.gone + terminal.screen
    assert " ✓ total at alpha  * s  3 rounds · 9 calls" in [
        re.sub(r"  [0-9.]+ m?s  ", "  * s  ", line) for line in screen
    ]
    assert 3 == sum("· one  ✓✓✓  alpha beta gamma" in line for line in screen)
    assert "  18" in screen
    assert written.count(b"\x1b[?25l") == written.count(b"\x1b[?25h") > 0


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:
        return b""  # Nobody holds the other end any more.
