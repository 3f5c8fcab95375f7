"""What somebody submits becomes a run, or is refused with every fault at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from atoll.engine.limits import BODY_BYTES_INSIDE_MAX
from atoll.hub.runs.submission import NewStep, Opening, Places, Submission, blobs_of, made
from atoll.model.errors import Malformed
from atoll.model.work import Algorithm, Blob, Role, RunId

RUN = RunId("run_1")
ISLANDS = Places(
    data=("Biscoe", "Dream", "Torgersen"),
    nodes=("Biscoe", "Dream", "Torgersen", "Lagoon"),
    default_aggregator="Lagoon",
    what="collaboration islands",
)


def algorithm(dialect: str) -> Algorithm:
    """An algorithm of this dialect."""
    return Algorithm(dialect=dialect, digest="sha256:0", name="mean")


def step(dialect: str = "functions", *, aggregated: bool = False, **how: Any) -> NewStep:
    """A step that is opened by one message for all."""
    return NewStep(
        algorithm=algorithm(dialect), aggregated=aggregated, openings=(Opening(body=b"{}"),), **how
    )


def submission(*steps: NewStep, **how: Any) -> Submission:
    """A submission to the islands."""
    return Submission(collaboration="col_1", steps=steps or (step(),), **how)


def test_all_nodes_with_data_are_sites_in_the_order_of_the_collaboration() -> None:
    run, messages = made(RUN, submission(), ISLANDS)

    assert ISLANDS.data == run.sites
    assert (None, None) == (run.aggregator, run.aggregator_node)
    assert [ISLANDS.data] == [message.readers for message in messages]
    assert (messages[0].id,) == run.steps[0].openings


def test_sites_keep_the_order_that_they_are_named_in() -> None:
    run, _ = made(RUN, submission(sites=("Torgersen", "Biscoe")), ISLANDS)

    assert ("Torgersen", "Biscoe") == run.sites


def test_a_remote_is_served_by_the_collaborations_aggregator() -> None:
    run, _ = made(RUN, submission(step("coinstac", aggregated=True)), ISLANDS)

    assert ("remote", "Lagoon") == (run.aggregator, run.aggregator_node)


def test_a_remote_is_served_where_the_submitter_says() -> None:
    run, _ = made(RUN, submission(step("coinstac", aggregated=True), aggregator="Dream"), ISLANDS)

    assert "Dream" == run.node_of(run.aggregator or run.sites[0])


def test_each_called_seat_may_have_an_opening_of_its_own() -> None:
    two = replace(step(seats=("Biscoe", "Dream")), openings=(Opening(body=b"1"), Opening(body=b"2")))
    run, messages = made(RUN, submission(two), ISLANDS)

    assert [("Biscoe",), ("Dream",)] == [message.readers for message in messages]
    assert ("Biscoe", "Dream") == run.steps[0].seats


def test_a_central_function_is_called_at_one_site() -> None:
    run, _ = made(RUN, submission(step(role=Role.AGGREGATOR, seats=("Dream",))), ISLANDS)

    assert (Role.AGGREGATOR, ("Dream",)) == (run.steps[0].role, run.steps[0].seats)


def test_what_is_too_large_to_travel_inside_is_named() -> None:
    blob = Blob(name="body", digest="sha256:1", size_bytes=1)
    large = replace(step(), openings=(Opening(body_blob=blob),))
    _, messages = made(RUN, submission(large), ISLANDS)

    assert {"sha256:1": blob} == dict(blobs_of(submission(large, step())))
    assert [blob] == [message.body_blob for message in messages]


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"sites": ("Atlantis",)}, "no node with data of the collaboration islands is called 'Atlantis'"),
    ({"sites": ("Lagoon",)}, "is called 'Lagoon'"),
    ({"sites": ()}, "at least one site"),
    ({"sites": ("Dream", "Dream")}, "named twice"),
    ({"min_sites": 4}, "min_sites is 4, and there are 3 sites"),
    ({"iterations_max": 0}, "iterations_max is 0"),
    ({"deadline_seconds": 0}, "a deadline of 0 seconds"),
    ({"deadline_seconds": float("nan")}, "a deadline of nan seconds"),
    ({"steps": ()}, "a run of 0 steps"),
    ({"steps": (step("cobol"),)}, "step 0: the dialect is 'cobol'"),
    ({"steps": (step("vantage6", aggregated=True),)}, "no seat for an aggregator"),
    ({"steps": (step(seats=("Lagoon",)),)}, "step 0 calls 'Lagoon'"),
    ({"steps": (step(seats=()),)}, "step 0 calls 'no site, or one twice'"),
    ({"steps": (replace(step(), openings=(Opening(),) * 2),)}, "has 2 openings and calls 3 seats"),
    (
        {"steps": (replace(step(), openings=(Opening(body=b"x" * (BODY_BYTES_INSIDE_MAX + 1)),)),)},
        "Upload what is larger",
    ),
    ({"steps": (step("coinstac", aggregated=True),), "aggregator": "Atlantis"}, "is called 'Atlantis'"),
]


@pytest.mark.parametrize(("wrong", "sentence"), FAULTS)
def test_what_does_not_fit_is_refused_with_a_sentence(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Malformed) as caught:
        made(RUN, replace(submission(), **wrong), ISLANDS)

    assert sentence in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(Malformed) as caught:
        made(RUN, submission(sites=("Atlantis",), iterations_max=0), ISLANDS)

    assert 2 == len(str(caught.value).splitlines())


def test_a_collaboration_without_nodes_runs_nothing() -> None:
    nobody = Places(data=(), nodes=(), default_aggregator=None, what="collaboration empty")
    with pytest.raises(Malformed) as caught:
        made(RUN, submission(step("coinstac", aggregated=True)), nobody)

    assert "has no node with data" in str(caught.value)
    assert "names no node for it" in str(caught.value)
