"""Exit statuses of the ``atoll`` command."""

DONE = 0  #: the run is done
FAILED = 1  #: the run failed
UNUSABLE = 2  #: what was asked for is unusable; nothing was started
INTERRUPTED = 130  #: somebody ended the run
