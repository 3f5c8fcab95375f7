"""Every bound that Atoll sets, with its unit and its reason.

A bound that a person may move is the default of an option or a setting; the others are
what keeps one algorithm from taking a machine down.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Iterations of one step. The original knows no bound, and a stopping rule that never holds
#: then runs for ever; no published computation that we know of comes near this one.
ITERATIONS_MAX = 10_000

#: Steps of one run. A pipeline that people read has a handful.
STEPS_MAX = 100

#: Seconds that one call of an algorithm may take. A day: long enough for a registration of
#: brain images, short enough that a forgotten run ends.
CALL_SECONDS_MAX = 86_400.0

#: Seconds that a session may take from its start to its readiness for a first call.
START_SECONDS_MAX = 600.0

#: Seconds that a session may wait in a cluster's queue for its resources. A week: queues before a
#: conference are long, and a job that nobody will ever run should not hold its run for ever.
QUEUED_SECONDS_MAX = 7 * 86_400.0

#: Bytes of one answer. Four times the largest answer that we test (300 MB); an answer is held
#: in memory while it is checked, so that it must stay well below the machine's memory.
REPLY_BYTES_MAX = 1_200_000_000

#: Bytes of a message's body that travel inside the message. Larger bodies travel as a blob,
#: so that a hub's database never holds a payload.
BODY_BYTES_INSIDE_MAX = 256 * 1024

#: Bytes that are read or written at a time where a file is streamed.
CHUNK_BYTES = 1024 * 1024

#: Bytes of a file that a node sends at a time and keeps until the hub has acknowledged them, to send
#: them again if it was cut off. Many times what is under way between two continents.
PART_BYTES = 16 * 1024 * 1024

#: Files that one call may send. More than any published computation sends, fewer than would
#: fill a file system's table of inodes.
FILES_PER_CALL_MAX = 100_000

#: Bytes of the files that one call may send. More than a scanner's day; a file without end, or
#: one that has a size but no content, must not keep a node reading for ever.
FILE_BYTES_PER_CALL_MAX = 256 * 1024**3

#: Bytes of files that one person may bring to a hub for runs which are not submitted yet. They are
#: dropped after a day, and no collaboration's quota counts them.
FILE_BYTES_AHEAD_MAX = 64 * 1024**3

#: Folders within each other that a file which is sent may lie in: a node holds each of them open,
#: and a process may have a thousand files open.
FOLDERS_DEEP_MAX = 64

#: Jobs that may lie above a child round. A function that asks for calls of itself would else
#: fill every machine of a federation.
CHILD_DEPTH_MAX = 8

#: Times that a job is claimed before its run fails, where nodes are lost with it. An algorithm that
#: takes its node down must not take it down for ever.
ATTEMPTS_MAX = 5

#: Child rounds that one job may ask for. Ten times the iterations of a step: a function that is
#: its own loop asks for one or two in each.
CHILD_ROUNDS_MAX = 100_000

#: Sessions that a seat keeps while they do nothing, for calls that go on in them. A function that
#: is paused has one at each site, and who drives it one or two such at a time.
KEPT_SESSIONS_MAX = 4

#: Calls of one run that may be under way at a seat: one is at work, and the others wait for what
#: they have asked for. Each keeps a process. Functions that call themselves at every site would
#: else fill a machine before they are stopped for their depth.
CALLS_WAITING_MAX = 64

#: Addresses that an algorithm may reach beside its door, each a listener in its sandbox and a
#: descriptor of its node: as many peers as it may have, and a hundred services of its site.
OUTLETS_MAX = 1_100

#: Seconds that a connection to a port of an algorithm may take. Nothing lies in between but a queue
#: that the algorithm has filled.
REACH_SECONDS_MAX = 10.0

#: Connections that one algorithm may have through its site's allow-list and services at a time. A pool
#: of a database's clients has ten or twenty; each takes two descriptors of its node.
RELAYED_MAX = 64

#: Hosts that an algorithm at one seat may not reach, and that its node writes down. One that tries its
#: way through the world has shown enough.
REFUSED_HOSTS_MAX = 20

#: Connections to the proxy of which a node knows whose they are. Each is refused at its beginning, or
#: is one of the few hundred that are open.
REFUSED_CALLERS_MAX = 10_000

#: Refusals of one call that are recorded. Who asks for what it may not have a second time has
#: shown enough, and one that does nothing else would fill a disk.
REFUSALS_MAX = 100

#: Bytes of the text that goes with a job's progress. A line on a screen.
PROGRESS_TEXT_BYTES_MAX = 200

#: Seconds that a first question about a child round is held open before it is answered that the
#: round is still open. Later ones are held longer: a client asks the less often, the longer it waits.
STATUS_SECONDS_MAX = 20.0

#: Seconds that a question about a run's end is held open. Proxies cut what is silent for a minute.
WAIT_SECONDS_MAX = 50.0

#: Bytes of a request over HTTP that a running algorithm may send: the inputs of a child round,
#: in base64, for as many sites as there are.
HTTP_BODY_BYTES_MAX = 1_200_000_000

#: Seconds after which a stream that has nothing to say says so. Proxies cut what is silent for a minute.
KEEP_ALIVE_SECONDS = 20.0

#: Heartbeats that a node may miss before its jobs are somebody else's. One may be lost, and the next
#: be late.
LEASE_HEARTBEATS = 3

#: Lines about jobs that a node may tell at once.
LOG_LINES_MAX = 100

#: Processes and threads of one call. A numeric library starts one thread for each processor, and
#: an algorithm some workers; what makes a thousand of them takes the machine down.
PROCESSES_MAX = 1_024

#: Bytes that a session may print beside its answers. A day of a line for each millisecond; more
#: would fill the disk that holds the logs of all runs.
LOG_BYTES_MAX = 1024**3

#: Files and folders that a call with a bound on the disk may write to. All of them are looked at
#: again and again, and a million takes seconds.
DISK_ENTRIES_MAX = 1_000_000

#: Bytes of the end of a log that an error quotes.
LOG_TAIL_BYTES = 4_000

#: Cancelled jobs that a node is told of which doesn't ask: it hears of older ones when it next says
#: what it works at.
CANCELLATIONS_KEPT_MAX = 1_000

#: Warnings that a run keeps and shows. An algorithm may be refused a million questions, each of
#: which is another sentence.
WARNINGS_MAX = 1_000

#: Bytes of a kept run's journal of calls. Beyond it later iterations can't be repeated, and
#: the run's record says so.
JOURNAL_BYTES_MAX = 1024**3

#: Files of a bundle. Ten times what a large algorithm has; each is a file at every node that runs it.
BUNDLE_FILES_MAX = 10_000

#: Bytes of a bundle. Code and small models; what brings its libraries along is an image.
BUNDLE_BYTES_MAX = 64 * 1024**2

#: Bytes of a bundle's own description, with the specification in it. It is read by the hub, and
#: shown to people.
BUNDLE_MANIFEST_BYTES_MAX = 1024**2

#: Characters of the description that an image has as a label. Engines repeat it in their answers, in
#: lines that can't be much longer.
IMAGE_LABEL_CHARACTERS_MAX = 200_000

#: Bytes of the algorithms that a node keeps for runs to come. A hundred of the usual size.
LIBRARY_BYTES_MAX = 1024**3

#: Seconds that a node keeps an algorithm which no run uses. What is needed again is fetched again.
LIBRARY_SECONDS_MAX = 30 * 86_400.0

#: Seconds that an image may take to arrive from its registry. Tens of gigabytes over a line of a
#: hospital; a registry that never comes to an end must not hold a seat for ever.
PULL_SECONDS_MAX = 4 * 3_600.0

#: Seconds that a registry may take for one answer about signatures, which are small.
REGISTRY_SECONDS_MAX = 30.0

#: Seconds in which it is looked where a registry's name leads, before an engine looks itself.
REGISTRY_LOOKUP_SECONDS_MAX = 10.0

#: Times that a registry may send Atoll on, for one answer. One that keeps its blobs elsewhere does it
#: once, and that place perhaps once more.
REGISTRY_REDIRECTS_MAX = 5

#: Bytes of a registry's answer that Atoll itself reads: a list of signatures, or one of them.
REGISTRY_ANSWER_BYTES_MAX = 4 * 1024**2

#: Images of one list that are looked at: one for each kind of processor.
LISTED_IMAGES_MAX = 32

#: Folders that an image may call a volume, where room is made for each in memory.
VOLUMES_MAX = 32

#: Signatures of one image that are tried. An image is signed by a handful of people.
SIGNATURES_MAX = 100

#: Seconds that an image may take to say what is installed in it. It takes tenths; but a cold network
#: drive may hold it.
INVENTORY_SECONDS_MAX = 120.0

#: Bytes of what it says. A scientific system has some thousand modules and programs: a tenth of this.
INVENTORY_BYTES_MAX = 1024 * 1024

#: Seconds in which an image that was asked for isn't removed, however many there are: whoever asked
#: is about to start it.
IMAGE_GRACE_SECONDS = 600.0

#: Parts that a file of Apptainer's format may say that it has room for. Apptainer writes 48.
SIF_DESCRIPTIONS_MAX = 4_096

#: Bytes of a text that is read out of an image while it is looked at: a script, a specification.
ROOT_TEXT_BYTES_MAX = 4 * 1024**2

#: Files of a root file system that is unpacked from an image. Ten times those of a whole desktop.
ROOT_FILES_MAX = 5_000_000

#: Bytes of a root file system that is unpacked from an image. What one block is stored for may be
#: read a million times: a small file could else fill a disk.
ROOT_BYTES_MAX = 256 * 1024**3

#: Bytes of the list of an image's files, which is read while it is made. Two hundred for each of
#: the files that it may have, and as much again.
ROOT_LIST_BYTES_MAX = 2 * 1024**3

#: Bytes of one line of that list. A path has 4096 at most, and a link says as much once more.
ROOT_LINE_BYTES_MAX = 64 * 1024

#: Bytes of the links in an image, which are in memory while single files of it are looked at. Those
#: of a million packages.
ROOT_LINKS_BYTES_MAX = 128 * 1024**2

#: Bytes of memory that the program which unpacks images may have, beside which nothing keeps it from
#: taking all: tables for all files, two queues, and a stack for each processor.
UNPACK_MEMORY_BYTES_MAX = 4 * 1024**3

#: Seconds that the unpacking of an image may take. A large one needs minutes on a slow disk.
UNPACK_SECONDS_MAX = 3_600.0

#: Bytes of the unpacked root file systems that are kept for runs to come. A few images with
#: everything for deep learning.
ROOTS_BYTES_MAX = 64 * 1024**3

#: Seconds that an unpacked root file system is kept which no run uses. It can be unpacked again.
ROOTS_SECONDS_MAX = 30 * 86_400.0

#: Bytes of the end of a job's log that a node tells its hub, where its settings say that it may.
LOG_TOLD_BYTES_MAX = 16 * 1024

#: Ports that an algorithm may declare for others of its run. Published ones have one or two.
PORTS_MAX = 16

#: Streams between jobs of one run at a time. Each of thirty sites may reach each other one.
STREAMS_PER_RUN_MAX = 1_000

#: Streams that one node may have at a time, for all its jobs. Each is a connection to the hub.
STREAMS_PER_NODE_MAX = 256

#: Bytes of a stream that are sealed and passed on at a time.
STREAM_PIECE_BYTES = 64 * 1024

#: Bytes of each direction of a stream that the hub holds where the reader is slower than the writer,
#: who then waits.
STREAM_BUFFER_BYTES = 256 * 1024

#: Seconds that another site's node may take to answer a call. It only has to hear of it and to
#: connect to its own algorithm.
STREAM_ANSWER_SECONDS = 20.0

#: Seconds that a call waits for its algorithm to listen. Jobs of one round don't start at the same
#: moment, and who is called first has often not opened its port yet.
STREAM_LISTEN_SECONDS = 10.0

#: Seconds after which a stream that carries nothing is ended. Parties that compute for long
#: between two exchanges need less.
STREAM_IDLE_SECONDS = 6 * 3_600.0

#: Addresses of peers that one session may be given. Each is a socket that listens in its sandbox.
PEER_ADDRESSES_MAX = 1_000

#: Items of a page of a list where a request says nothing. What a screen shows.
PAGE_ITEMS_DEFAULT = 50

#: Items of a page of a list. The answer stays small, and the hub is busy with it for milliseconds.
PAGE_ITEMS_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """What one call of an algorithm may take."""

    seconds: float = CALL_SECONDS_MAX
    reply_bytes: int = REPLY_BYTES_MAX
    #: Memory of one call, all its processes together where a control group can be made, else
    #: of each process. None: as much as the machine has.
    memory_bytes: int | None = None
    #: Processors that may be busy with it, such as 1.5. None: all.
    processors: float | None = None
    #: Processes and threads that it may have at a time, where they can be counted.
    processes: int | None = PROCESSES_MAX
    #: Bytes that the folders which it can write to may hold, all together. None: what the disk holds.
    disk_bytes: int | None = None
    #: Bytes that it may print beside its answers, all calls of a session together.
    log_bytes: int = LOG_BYTES_MAX
