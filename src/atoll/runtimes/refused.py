"""The few system calls that every sandbox refuses, as a program for the kernel's filter.

Namespaces wall off nearly everything. What they leave open is refused here:

* keyrings: a session's is inherited through all namespaces, with the keys of whoever started
  Atoll, and would be a common blackboard of all seats;
* sockets of families that know no network namespace, such as those between a virtual machine
  and its host; ``io_uring``, which opens sockets unseen by a filter;
* tracing, and writing into other processes: a call could free bubblewrap's own first process
  of the duty to end with Atoll.

In a box, whose engine may see to it less strictly, new namespaces are refused as well: in a user namespace of
its own a process has every capability, and all of the kernel that those open.

One call is answered as if it had been done: to let a socket linger. Whoever closes such a socket
last waits for it, and that would be Atoll, where a process has sent it one.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass

#: AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK: each belongs to a network namespace.
_FAMILIES = (1, 2, 10, 16)

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
#: Where the filter finds the call's number, the architecture, and the arguments' low halves.
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND, _THIRD = 0, 4, 16, 24, 32
#: SOL_SOCKET and SO_LINGER.
_LEVEL, _OPTION = 1, 13
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
#: CLONE_NEWUSER.
_NEW_USER = 0x10000000
#: The first number of the calls of x32, which are those of x86-64 once more.
_X32 = 0x40000000


@dataclass(frozen=True, slots=True)
class _Numbers:
    """How an architecture numbers the calls."""

    architecture: int
    socket: int
    setsockopt: int
    refused: Sequence[int]
    #: unshare and setns.
    namespaces: Sequence[int]
    clone: int
    #: Whose flags lie where no filter can look: libraries do without it where it isn't there.
    clone3: int = 435


# In this order: ptrace, add_key, request_key, keyctl, process_vm_writev, io_uring_setup. For i386
# also socketcall, whose family lies where no filter can look.
_X86_64 = _Numbers(0xC000003E, 41, 54, (101, 248, 249, 250, 311, 425), (272, 308), 56)
_I386 = _Numbers(0x40000003, 359, 366, (26, 286, 287, 288, 348, 425, 102), (310, 346), 120)
_AARCH64 = _Numbers(0xC00000B7, 198, 208, (117, 217, 218, 219, 271, 425), (97, 268), 220)
_ARM = _Numbers(0x40000028, 281, 294, (26, 309, 310, 311, 377, 425), (337, 375), 120)
_MACHINES = {"x86_64": (_X86_64, _I386), "aarch64": (_AARCH64, _ARM)}


def refusing(*, namespaces: bool = False) -> bytes | None:
    """The filter for this machine; None where its numbers aren't known.

    Args:
        namespaces: whether new namespaces are refused, too.
    """
    numbers = _MACHINES.get(os.uname().machine)
    if numbers is None:
        return None
    lines = [_line(_LOAD, _ARCHITECTURE)]
    for known in numbers:
        part = _part(known, namespaces=namespaces)
        lines += [_line(_EQUAL, known.architecture, otherwise=len(part)), *part]
    return b"".join([*lines, _line(_RETURN, _ERROR | errno.ENOSYS)])


def _part(numbers: _Numbers, *, namespaces: bool) -> list[bytes]:
    allow, refuse = _line(_RETURN, _ALLOW), _line(_RETURN, _ERROR | errno.EPERM)
    lines = [_line(_LOAD, _NUMBER)]
    if numbers is _X86_64:
        lines += [_line(_AT_LEAST, _X32, otherwise=1), refuse]
    if namespaces:
        lines += [
            *(_line(_EQUAL, numbers.clone3, otherwise=1), _line(_RETURN, _ERROR | errno.ENOSYS)),
            *(_line(_EQUAL, numbers.clone, otherwise=4), _line(_LOAD, _FIRST)),
            *(_line(_ANY_BIT, _NEW_USER, otherwise=1), refuse, allow),
        ]
    for number in (*numbers.refused, *(numbers.namespaces if namespaces else ())):
        lines += [_line(_EQUAL, number, otherwise=1), refuse]
    lines += [
        *(_line(_EQUAL, numbers.setsockopt, otherwise=7), _line(_LOAD, _SECOND)),
        *(_line(_EQUAL, _LEVEL, then=1), allow, _line(_LOAD, _THIRD)),
        *(_line(_EQUAL, _OPTION, otherwise=1), _line(_RETURN, _ERROR), allow),
    ]
    lines += [_line(_EQUAL, numbers.socket, then=1), allow, _line(_LOAD, _FIRST)]
    for family in _FAMILIES:
        lines += [_line(_EQUAL, family, otherwise=1), allow]
    return [*lines, _line(_RETURN, _ERROR | errno.EAFNOSUPPORT)]


def _line(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    """One instruction; a comparison passes over as many lines as it says."""
    return struct.pack("=HBBI", code, then, otherwise, value)
