"""A federation in one process: the SDK's own calls, and a fake of the node between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from atoll_algorithm._body import join, pack, unpack
from atoll_algorithm.inline import Algorithm

Frames = dict[str, Any]


def body_of(function: str, labels: list[str] | None = None, **arguments: Any) -> bytes:
    return join(pack({"function": function, "args": arguments, "databases": labels}))


class Islands:
    """Sites that hold tables, and a node that carries questions to them."""

    def __init__(self, functions: Any, tables: Frames, seed: int | None = 7) -> None:
        self.errors: list[tuple[str, BaseException]] = []
        self.algorithm = Algorithm.of(functions, report=lambda seat, error: self.errors.append((seat, error)))
        self.tables = tables
        self.seed = seed
        #: What was said to the node, in order.
        self.said: list[dict[str, Any]] = []
        #: The sites that are late, whatever they are asked.
        self.late: set[str] = set()
        #: The sites that give no answer at all.
        self.lost: set[str] = set()
        self.refusal: str | None = None
        #: In what order the answers come.
        self.shuffle: Callable[[list[str]], list[str]] = list

    def head(self, seat: str, resume: str | None = None) -> dict[str, Any]:
        held = self.tables[seat]
        labelled = held if isinstance(held, dict) else {"default": held}
        return {
            "do": "call",
            "seat": seat,
            "sites": list(self.tables),
            "seed": self.seed,
            "databases": [
                {"label": label, "uri": "", "type": "table", "table": table, "options": {}}
                for label, table in labelled.items()
                if table is not None
            ],
            "resume": resume,
        }

    def ask(self, question: dict[str, Any], body: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
        self.said.append(question)
        if question["say"] != "call":
            return
        if self.refusal is not None:
            yield {"do": "refused", "message": self.refusal}, b""
            return
        for site in self.shuffle(list(question["sites"] or self.tables)):
            if site in self.lost:
                continue
            answer, content = self.algorithm.call(self.head(site, question["keep"]), body, self.ask)
            if site in self.late:
                yield {"do": "part", "site": site, "status": "late", "failure": None}, b""
            elif answer["say"] == "returned":
                yield {"do": "part", "site": site, "status": "done", "failure": None}, content
            else:
                told = {"type": answer["type"], "message": answer["message"]}
                yield {"do": "part", "site": site, "status": "failed", "failure": told}, b""
        yield {"do": "end"}, b""

    def call(
        self, function: str, labels: list[str] | None = None, at: str | None = None, **arguments: Any
    ) -> tuple[dict[str, Any], Any]:
        """Call a function at a site, the first where none is named: the answer's head, and its value."""
        seat = at or next(iter(self.tables))
        answer, content = self.algorithm.call(
            self.head(seat), body_of(function, labels, **arguments), self.ask
        )
        return answer, unpack(content, self.algorithm.make) if content else None

    def value(self, function: str, **options: Any) -> Any:
        answer, value = self.call(function, **options)
        assert {"say": "returned"} == answer, (answer, self.errors)
        return value

    def failure(self, function: str, **options: Any) -> tuple[str, str | None]:
        answer, _ = self.call(function, **options)
        assert answer["say"] == "failed", answer
        return answer["type"], answer["message"]
