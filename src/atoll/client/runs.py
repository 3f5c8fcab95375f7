"""Runs from Python: submitting them, and finding earlier ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from atoll.algorithms.words import PYTHON, Words
from atoll.client.core import part
from atoll.client.run import Listed, Reach, Run
from atoll.client.submitting import Step, Wanted, find_collaboration, find_study, submit
from atoll.model.errors import SpecInvalid

__all__ = ["Reach", "Run", "Runs", "Step"]


class Runs:
    """The runs that a person may see, and new ones."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def submit(
        self,
        *,
        collaboration: str,
        algorithm: str | Path | None = None,
        function: str | None = None,
        args: Mapping[str, Any] | None = None,
        databases: Sequence[str | Mapping[str, Any]] | None = None,
        sites: Sequence[str] | None = None,
        at: str | None = None,
        inputs: Any = None,
        extract: str | None = None,
        preprocess: Sequence[str] | None = None,
        image: str | None = None,
        dialect: str = "auto",
        study: str | None = None,
        name: str | None = None,
        min_sites: int | None = None,
        on_failure: str | None = None,
        on_refusal: str | None = None,
        deadline: float | None = None,
        aggregator: str | None = None,
        steps: Sequence[Step] | None = None,
    ) -> Run:
        """Submit a run.

        Args:
            collaboration: its name or id.
            algorithm: a local path, which is bundled and uploaded once; an image (``docker:NAME``,
                ``NAME@sha256:…``); a digest; or the name of an algorithm that the collaboration has.
            function: which function is called. Default: the only central one.
            args: its arguments.
            databases: labels, in order. None: each node's first.
            sites: names of nodes, in the order that the run has them. None: all of the collaboration.
            at: where the function runs: ``central``, ``all``, or names with commas. None: as its decorator says.
            inputs: a COINSTAC inputspec.
            extract: of vantage6 5: the function that makes a dataframe of a database.
            preprocess: of vantage6 5: functions that change it before it is used, in their order; each with
                its arguments, if it has any: ``complete:{"column": "age"}``.
            image: what the code at a local path runs in: an image, or ``compspec`` for the one that its
                compspec.json names.
            dialect: how the algorithm is written. Default: as its files say. Of an image that no engine
                here can look into: ``vantage6-4`` or ``vantage6-5``.
            study: its name or id: only its nodes.
            name: for people.
            min_sites: how many sites are enough for a result. None: all.
            on_failure: what it means that a job fails: ``fail``, ``drop`` or ``ask``.
            on_refusal: what it means that a site's own rules refuse a job: ``fail``, ``drop`` or ``ask``.
            deadline: seconds after which the run ends, whatever it does then.
            aggregator: the name of the node that serves the aggregator's seat. None: the collaboration's.
            steps: several algorithms, one after the other, instead of one.

        Raises:
            SpecInvalid: it can't be begun so.
            Refused: the hub doesn't take it.
        """
        if (algorithm is None) == (steps is None):
            raise SpecInvalid("submit takes an algorithm, or steps: expected one of the two")
        if algorithm is not None:
            only = Step(
                algorithm=algorithm,
                function=function,
                args=args or {},
                databases=databases,
                at=at,
                inputs=inputs,
                extract=extract,
                preprocess=preprocess or (),
                image=image,
                dialect=dialect,
            )
            steps = [only]
        elif any(
            one is not None for one in (function, args, databases, at, inputs, extract, preprocess, image)
        ):
            raise SpecInvalid(
                "what is asked of an algorithm is said with its step: leave it out beside steps"
            )
        wanted = Wanted(
            collaboration=collaboration,
            steps=steps or (),
            study=study,
            name=name,
            sites=sites,
            aggregator=aggregator,
            min_sites=min_sites,
            on_failure=on_failure,
            on_refusal=on_refusal,
            deadline_seconds=deadline,
        )
        return self.begin(wanted)

    def begin(self, wanted: Wanted, words: Words = PYTHON) -> Run:
        """Submit a run that is described by one value."""
        reach = self._reach
        begun = reach.background.run(submit(reach.core, reach.finder, wanted, words))
        run = Run(reach, begun.id)
        run.warnings = begun.warnings
        return run

    def get(self, id_: str) -> Run:
        """A run.

        Raises:
            NotThere: there is none, or not for who asks.
        """
        form = self._reach.background.run(self._reach.core.get(f"/runs/{part(id_)}")).json
        return Run(self._reach, id_, form)

    def list(
        self,
        *,
        collaboration: str | None = None,
        study: str | None = None,
        status: str | None = None,
        submitter: str | None = None,
        name: str | None = None,
        limit: int = 50,
    ) -> list[Run]:
        """Runs, the newest first.

        Args:
            collaboration: only of one, by name or id.
            study: only of one of that collaboration, by name or id.
            status: only ``active``, ``done`` or ``failed`` ones.
            submitter: only of one person, by id.
            name: only those whose name has this in it.
            limit: how many at most.
        """
        core = self._reach.core

        async def fetched() -> list[dict[str, Any]]:
            place = None if collaboration is None else await find_collaboration(core, collaboration)
            part_ = None if study is None or place is None else await find_study(core, place, study)
            forms: list[dict[str, Any]] = []
            query = {
                "collaboration": place and place.id,
                "study": part_ and part_.id,
                "status": status,
                "submitter": submitter,
                "name": name,
            }
            async for page in core.pages("/runs", **query):
                forms += msgspec.json.decode(page, type=Listed).items
                if len(forms) >= limit:
                    break
            return forms[:limit]

        return [Run(self._reach, form["id"], form) for form in self._reach.background.run(fetched())]

    def delete(self, id_: str) -> None:
        """Remove a run that has ended, with its results and files."""
        self._reach.background.run(self._reach.core.send("DELETE", f"/runs/{part(id_)}"))
