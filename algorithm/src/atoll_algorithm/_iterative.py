"""Local and remote, turn about, until the remote half is done."""

from __future__ import annotations

from typing import Any, Dict, Generic, TypeVar

from atoll_algorithm._plans import Plan
from atoll_algorithm._sites import Sites
from atoll_algorithm.errors import AlgorithmError, ArgumentsInvalid, NotConverged

R = TypeVar("R")


class Done(Generic[R]):
    """What a remote half returns to end the iterations: ``Done(result)``."""

    __slots__ = ("result",)

    def __init__(self, result: R) -> None:
        self.result = result

    def __repr__(self) -> str:
        return "Done(%r)" % (self.result,)


def iterate(plan: Plan, sites: Sites, arguments: Dict[str, Any], filled: Dict[str, Any]) -> Any:
    """Run a remote function with its local half.

    Args:
        plan: The remote half's.
        sites: Who runs the local half.
        arguments: The person's, for either half.
        filled: What the site fills of the remote half's parameters; `parts` is added here.

    Raises:
        ArgumentsInvalid: An argument that neither half takes, or one that is missing.
        NotConverged: `max_iterations` went by.
        AlgorithmError: The remote half returned None.
    """
    local: Plan = sites._call.algorithm.plan_of(plan.mark.local)  # noqa: SLF001 -- one mechanism in two files
    options = dict(plan.mark.options)
    iterations = options.pop("max_iterations")
    state = local.names[0] if local.names else None
    parts_name = next(one.name for one in plan.filled if one.filler == "parts")
    unknown = [name for name in arguments if name not in local.names and name not in plan.names]
    if unknown and not (local.open or plan.open):
        takes = list(dict.fromkeys(local.names + plan.names))
        raise ArgumentsInvalid(
            "%s takes no argument %r: it takes %s" % (plan.name, unknown[0], ", ".join(takes) or "none")
        )
    here = {name: one for name, one in arguments.items() if name in plan.names or plan.open}
    there = {name: one for name, one in arguments.items() if name in local.names or local.open}
    local.check(there)
    if state in plan.names and state not in here:
        here[state] = local.defaults.get(state)
    for _ in range(iterations):
        filled[parts_name] = sites.call(local.function, **options, **there)
        answer = plan.function(**plan.fit(dict(here)), **filled)
        if isinstance(answer, Done):
            return answer.result
        if state is not None:
            if answer is None:
                raise AlgorithmError(
                    "%s returned None: expected Done(result), or what goes to the sites next" % (plan.name,)
                )
            there[state] = answer
            if state in plan.names:
                here[state] = answer
    raise NotConverged(
        "%s: %d iterations went by without Done: raise max_iterations, or loosen what it waits for"
        % (plan.name, iterations)
    )
