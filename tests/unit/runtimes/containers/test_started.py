"""What is read out of what an engine says when a container doesn't start."""

from __future__ import annotations

import pytest

from atoll.runtimes.containers.started import is_not_found

_RUNC = "OCI runtime create failed: runc create failed: unable to start container process: "


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (f'{_RUNC}exec: "python3": executable file not found in $PATH: unknown', True),
        (f'{_RUNC}exec: "/opt/python": stat /opt/python: no such file or directory: unknown', True),
        (f'{_RUNC}exec: "/mount/python": stat /mount/python: no such file or directory: unknown', True),
        ("crun: executable file `python3` not found in $PATH: No such file or directory", True),
        (
            f'{_RUNC}error during container init: error mounting "/data" to rootfs at "/a": no such file or directory',
            False,
        ),
        ("permission denied", False),
    ],
)
def test_an_image_without_a_program_is_told_from_a_folder_that_can_not_be_mounted(
    said: str, expected: bool
) -> None:
    assert is_not_found(said) == expected
