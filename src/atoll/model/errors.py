"""Every error that Atoll raises on purpose.

* AtollError
  * Unusable              what was asked for can't be begun: the person mends it (exit status 2)
    - SpecInvalid         a specification or an input is wrong; one fault per line
    - RuntimeUnavailable  this machine can't run algorithms in the way that was asked for
    - OutputTaken         the run's folder holds files already
  * JobFailed             a job ended without an outcome; the run says where (exit status 1)
    - AlgorithmFailed     the algorithm's own process failed
    - ReplyInvalid        the algorithm answered with something that is not an answer
    - LimitReached        a bound of ``engine/limits.py`` was hit
    - UnsafeName          a file's name would lead out of the folder that it is put in
    - BlobMismatch        what arrived is not what was announced
    - InputMissing        a value, a database or a dataframe that a call needs is not there
    - NotRepeatable       a job that was tried again asked for something else
    - JobRefused          a site doesn't do the job: its rules forbid it, or it has mapped nothing to it
    - NodeLost            the node that worked at the job was not heard of again, too often
  * RunStoppedEarly       a run was ended from outside
    - Cancelled           somebody ended it
    - DeadlinePassed      it has had the time that it was given
    - NotEnoughSites      fewer sites are left than its result needs
  * RunFailed             a run has ended as failed, told to who waited for it
  * BuildFailed           an image could not be built or pushed; the engine's last words are in the message
  * WaitTimeout           a run has not ended within the time that somebody waits for it
  * StaleEvent            the event is about a job that has ended already
  * NotYours              a seat spoke about what is not its own
  * StreamBroken          a stream between two sites was cut off, or changed on its way
  * HubUnreachable        no hub answers at the address, or what answers is none
  * Refused               the hub doesn't do what it was asked for (exit status 1)
    - NotLoggedIn         nobody is known by this token, name or password; or not any more
    - NotAllowed          who asks may not do this
    - NotThere            there is no such thing, or not for who asks
    - Taken               it is there already, or something else stands in the way
    - Malformed           what was sent is not what is expected, or can't be used
    - TooLarge            what was sent is larger than the hub takes
    - TooMany             too many requests in too little time; later is better
    - QuotaReached        the collaboration has used what it may
    - EventsGone          the events after this cursor are kept no longer: fetch anew
    - VersionMismatch     node or client and hub are too far apart to understand each other

A message says what happened, to what, what was expected, and what to do. It never holds
a secret or a value of a site's data.
"""


class AtollError(Exception):
    """The root: an error that Atoll raises on purpose."""


class Unusable(AtollError):
    """What was asked for can't be begun. Nothing was started and nothing was written."""


class SpecInvalid(Unusable):
    """A specification or an input is wrong.

    Attributes:
        faults: one sentence per fault, each with the file, the line and the path in the document.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class RuntimeUnavailable(Unusable):
    """This machine can't run algorithms in the way that was asked for."""


class OutputTaken(Unusable):
    """The folder that a run should write to holds files already."""


class JobFailed(AtollError):
    """A job ended without an outcome. Its run fails, and names the seat."""


class AlgorithmFailed(JobFailed):
    """The algorithm's own process failed: an exit status, a signal, an exception.

    Attributes:
        raised: the class name of what a function raised, where it was a function.
    """

    def __init__(self, message: str, *, raised: str | None = None) -> None:
        super().__init__(message)
        self.raised = raised


class ReplyInvalid(JobFailed):
    """The algorithm answered, but not with what its dialect asks for."""


class LimitReached(JobFailed):
    """A bound of ``engine/limits.py`` was hit."""


class UnsafeName(JobFailed):
    """A file's name would lead out of the folder that it is put in."""


class BlobMismatch(JobFailed):
    """What arrived is not what was announced."""


class InputMissing(JobFailed):
    """A value that an earlier step should have left, a database or a dataframe is not there."""


class NotRepeatable(JobFailed):
    """A job that was tried again asked for something else than at its first try."""


class JobRefused(JobFailed):
    """A site doesn't do the job: a rule of its own forbids it, or it has mapped nothing to the computation."""


class NodeLost(JobFailed):
    """The node that worked at a job was not heard of again, so often that it isn't tried once more."""


class RunStoppedEarly(AtollError):
    """A run was ended from outside, and not by a job of its own."""


class Cancelled(RunStoppedEarly):
    """Somebody ended the run."""


class DeadlinePassed(RunStoppedEarly):
    """A run has had the time that it was given."""


class NotEnoughSites(RunStoppedEarly):
    """Fewer sites are left than a run's result needs."""


class RunFailed(AtollError):
    """A run has failed.

    Attributes:
        type: the class name of the error that ended it.
        message: what happened.
        site: where, if it happened at one site.
    """

    def __init__(self, message: str, *, type: str, site: str | None) -> None:  # noqa: A002  # the word of `Failure`
        super().__init__(f"{site}: {message}" if site else message)
        self.type = type
        self.message = message
        self.site = site


class BuildFailed(AtollError):
    """An image could not be built, or not be pushed. The message ends with what the engine said last."""


class WaitTimeout(AtollError):
    """A run has not ended within the time that somebody waits for it. It goes on."""


class StaleEvent(AtollError):
    """The event is about a job that has ended already. Nobody waits for it."""


class NotYours(AtollError):
    """A seat spoke about a job that is another seat's, or said what it can't say of its own."""


class StreamBroken(AtollError):
    """A stream between two sites was cut off, or what came is not what the other site has sealed."""


class HubUnreachable(AtollError):
    """No hub answers at the address, or what answers there is none."""


class Refused(AtollError):
    """The hub doesn't do what it was asked for. Nothing was changed."""


class NotLoggedIn(Refused):
    """Nobody is known by this token, or by this name and password; or not any more."""


class NotAllowed(Refused):
    """Who asks may not do this."""


class NotThere(Refused):
    """There is no such thing, or not for who asks: the two look the same."""


class Taken(Refused):
    """It is there already, or something else stands in the way."""


class Malformed(Refused):
    """What was sent is not what is expected, or can't be used."""


class TooLarge(Refused):
    """What was sent is larger than the hub takes."""


class TooMany(Refused):
    """Too many requests in too little time.

    Attributes:
        seconds: after how many it is worth trying again.
    """

    def __init__(self, message: str, *, seconds: float = 1.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class QuotaReached(Refused):
    """The collaboration has used what it may."""


class EventsGone(Refused):
    """The events after this cursor are kept no longer. Fetch the state anew, and go on from its cursor."""


class VersionMismatch(Refused):
    """Node or client and hub are too far apart to understand each other."""
