"""A protocol-2 computation is started by what its Dockerfile starts."""

import pytest

from atoll.dialects.coinstac.entry import started_by


@pytest.mark.parametrize(
    ("dockerfile", "script"),
    [
        ('CMD ["python", "/computation/entry.py"]', "entry.py"),
        ('CMD ["python", "./scripts/entry.py"]', "scripts/entry.py"),
        ("CMD python entry.py", "entry.py"),
        ("cmd python -u 'my entry.py'", "my entry.py"),
        ('ENTRYPOINT ["python3", "run.py"]\n', "run.py"),
        ("  Entrypoint   python3 run.py --verbose  ", "run.py"),
        ('WORKDIR /computation/src\nCMD ["python", "entry.py"]', "src/entry.py"),
        ('WORKDIR src\nWORKDIR deep\nCMD ["python", "../entry.py"]', "src/entry.py"),
        ('WORKDIR /computation\nCMD ["python", "/computation/./a//b.py"]', "a/b.py"),
        ("CMD python \\\n  -u \\\n  entry.py", "entry.py"),
        # The last one counts, as it does for Docker.
        ('CMD ["python", "old.py"]\nCMD ["python", "new.py"]', "new.py"),
        # One that starts no script leaves the one before.
        ('CMD ["python", "entry.py"]\nENTRYPOINT ["/init"]', "entry.py"),
    ],
)
def test_the_script_that_a_dockerfile_starts_is_found(dockerfile: str, script: str) -> None:
    assert script == started_by(dockerfile)


@pytest.mark.parametrize(
    "dockerfile",
    [
        "",
        "FROM python:3.11\nCOPY . /computation\n",
        "# CMD python entry.py",
        "RUN python setup.py",
        'CMD ["node", "/server/index.js"]',
        "CMD",
        'CMD ["python", "/server/entry.py"]',
        'WORKDIR /app\nCMD ["python", "entry.py"]',
        'CMD ["python", "../entry.py"]',
        'CMD ["python", "/computation/../etc/entry.py"]',
        "CMD python 'entry.py",
        "CMD 1",
        'CMD {"python": "entry.py"}',
        'CMD ["python", 1, "entry.py"]',
    ],
)
def test_a_dockerfile_that_starts_no_script_of_the_computation_names_none(dockerfile: str) -> None:
    assert started_by(dockerfile) is None
