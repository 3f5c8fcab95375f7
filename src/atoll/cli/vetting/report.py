"""Telling what was read of an algorithm: a picture on a terminal, lines in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from atoll.cli.escape import escape
from atoll.cli.refusal import print_document
from atoll.cli.vetting.described import Described, Taken, Vetted
from atoll.cli.vetting.findings import Finding, Level
from atoll.model.errors import Unusable

_DIALECTS = {"functions": "functions", "vantage6": "vantage6 functions", "coinstac": "COINSTAC scripts"}
_STYLES = {Level.OBJECTION: "bold red", Level.REMARK: "yellow"}


def refuse(error: Unusable, path: Path, *, as_json: bool) -> None:
    """Say that there is nothing to vet, and why."""
    for line in str(error).splitlines():
        print(f"error: {escape(line)}", file=sys.stderr)
    if as_json:
        print_document({
            "path": str(path),
            "dialect": None,
            "name": None,
            "accepted": False,
            "objections": 0,
            "remarks": 0,
            "files": 0,
            "functions": [],
            "findings": [],
            "error": {"type": type(error).__name__, "message": str(error)},
        })  # fmt: skip


def show(vetted: Vetted, console: Console, *, strict: bool) -> None:
    """Show all of it."""
    if console.is_terminal:
        _draw(vetted, console, strict=strict)
    else:
        for line in _lines(vetted, strict=strict):
            console.print(Text(escape(line)), soft_wrap=True)


def _headline(vetted: Vetted) -> str:
    functions = len(vetted.functions)
    what = _DIALECTS[vetted.dialect] if functions != 1 else _DIALECTS[vetted.dialect].removesuffix("s")
    files = f"{vetted.files_read:,} Python file{'s' * (vetted.files_read != 1)} read, nothing run"
    return f"{vetted.name}: {functions} {what}, {files}"


def _verdict(vetted: Vetted, *, strict: bool) -> str:
    if not vetted.files_read:
        return "Nothing of it could be read, and so nobody can say what it does: read it yourself."
    if not vetted.findings:
        return "Nothing to object to."
    objections, remarks = vetted.count(Level.OBJECTION), vetted.count(Level.REMARK)
    counts = [_counted(objections, "objection")] if objections else []
    counts += [_counted(remarks, "remark")] if remarks else []
    if not objections:
        return f"No objections, {counts[0]}{': with --strict they count' if strict else ''}."
    return f"{' and '.join(counts)}."


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}{'s' * (count != 1)}"


# --- On a terminal ----------------------------------------------------------------------------


def _draw(vetted: Vetted, console: Console, *, strict: bool) -> None:
    console.print(Text(escape(_headline(vetted)), style="bold"))
    if vetted.functions:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
        for head in ("function", "takes", "reads", "what leaves"):
            table.add_column(head, overflow="fold")
        for number, function in enumerate(vetted.functions, 1):
            table.add_row(*_row(function))
            if number < len(vetted.functions):
                table.add_row()
        console.print()
        console.print(table)
    console.print()
    for level in Level:
        found = [one for one in vetted.findings if one.rule.level is level]
        if found:
            console.print(Text(f"{level.value.capitalize()}s", style=_STYLES[level]))
            for one in found:
                _draw_finding(one, console)
            console.print()
    fine = not vetted.is_objectionable(strict=strict)
    console.print(Text(_verdict(vetted, strict=strict), style="bold green" if fine else "bold red"))


def _row(function: Described) -> Iterator[Text]:
    name = Text(escape(function.name), style="bold")
    # The file alone: findings give the whole path.
    for line in (_runs(function), _place(function).rpartition("/")[2]):
        name.append(f"\n{escape(line)}", style="dim")
    yield name
    for lines in (map(_taken, function.arguments), _read(function), _leaves(function)):
        yield Text(escape("\n".join(lines), keep_lines=True))


def _draw_finding(one: Finding, console: Console) -> None:
    head = Text("  ")
    head.append(escape(one.place), style="bold")
    head.append(f"  {one.rule.id}", style="dim")
    console.print(head)
    console.print(Padding(Text(escape(f"{_sentence(one.message)}")), (0, 0, 0, 4)))
    if one.rule.remedy:
        console.print(Padding(Text(f"{one.rule.remedy}.", style="dim"), (0, 0, 0, 4)))


# --- In a pipe --------------------------------------------------------------------------------


def _lines(vetted: Vetted, *, strict: bool) -> Iterator[str]:
    """One line for each fact, so that they can be searched; places as compilers print them."""
    yield _headline(vetted)
    for function in vetted.functions:
        yield ""
        yield f"{function.name}: {_runs(function)} ({_place(function)})"
        if function.summary:
            yield f"  {function.summary}"
        for taken in function.arguments:
            yield f"  takes {_taken(taken)}"
        for line in _read(function):
            yield f"  reads {line}"
        for line in _leaves(function):
            yield f"  leaves: {line}"
    if vetted.findings:
        yield ""
    for one in vetted.findings:
        remedy = f". {one.rule.remedy}" if one.rule.remedy else ""
        yield f"{one.place}: {one.rule.level.value}: {one.message}{remedy} [{one.rule.id}]"
    yield ""
    yield _verdict(vetted, strict=strict)


# --- Words ------------------------------------------------------------------------------------


def _place(function: Described) -> str:
    return f"{function.file}:{function.line}" if function.line else function.file


def _runs(function: Described) -> str:
    # A COINSTAC script is called what it does.
    role = "" if function.role == function.name else f"{function.role}, "
    return f"{role}at {function.runs}"


def _taken(taken: Taken) -> str:
    if taken.name == "**":
        return "anything else"
    type_ = f": {taken.type}" if taken.type else ""
    if taken.default not in (None, "None", "null"):
        return f"{taken.name}{type_} = {taken.default}"
    return taken.name + (type_ if taken.required else f"{type_.removesuffix(' | None')} (optional)")


def _read(function: Described) -> Iterator[str]:
    for read in function.databases:
        label = f", the database {read.label!r}" if read.label else ""
        optional = "" if read.required else " (optional)"
        yield f"{read.name}: {read.type}{label}{optional}"
    if function.asks:
        yield "asks other sites"


def _leaves(function: Described) -> Iterator[str]:
    if function.stays:
        yield "nothing: it stays at the site"
        return
    yield function.returns or "not declared"
    for key, kind in function.kinds.items():
        yield f"{key}: {kind}" if key else kind


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!", "…")) else f"{text}."
