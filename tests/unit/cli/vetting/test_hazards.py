"""What code may do is seen under whatever name it goes, and what is harmless is left alone."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.cli.vetting.findings import Finding
from atoll.cli.vetting.hazards import hazards
from atoll.dialects.functions.names import read_sources


def _find(source: str, **others: str) -> list[Finding]:
    texts = {"algorithm.py": textwrap.dedent(source), **{f"{name}.py": text for name, text in others.items()}}
    sources = read_sources(texts)
    assert sources.unreadable == ()
    return list(hazards(sources.by_module["algorithm"], sources, "algorithm.py"))


def _rules(source: str, **others: str) -> list[tuple[str, int]]:
    return [(one.rule.id, one.line) for one in _find(source, **others)]


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("import socket", "network"),
        ("import urllib.request as web", "network"),
        ("from urllib import request", "network"),
        ("from http import client", "network"),
        ("import requests.sessions", "network"),
        ("import asyncio\nasyncio.open_connection", "network"),
        ("client.fetch('https://example.org/x')", "network"),
        ("fetch(url='s3://bucket/x')", "network"),
        ("fetch(f'http://{host}/x')", "network"),
        ("__import__('socket')", "network"),
        ("import importlib\nimportlib.import_module('requests')", "network"),
        ("import subprocess", "process"),
        ("import os\nos.system('ls')", "process"),
        ("from os import system as tidy", "process"),
        ("import os as _\n_.execv", "process"),
        ("import os\nrun = os.popen\nrun('ls')", "process"),
        ("eval('1')", "dynamic-code"),
        ("run = exec", "dynamic-code"),
        ("compile('1', '', 'eval')", "dynamic-code"),
        ("__import__(name)", "dynamic-code"),
        ("from importlib import import_module as load\nload(name)", "dynamic-code"),
        ("import builtins\nbuiltins.exec('1')", "dynamic-code"),
        ("__builtins__['eval']", "dynamic-code"),
        ("import types\ntypes.FunctionType(code, {})", "dynamic-code"),
        ("import pickle", "unpickling"),
        ("from marshal import loads", "unpickling"),
        ("import pandas as pd\npd.read_pickle(path)", "unpickling"),
        ("frame.to_pickle(path)", "unpickling"),
        ("import joblib\njoblib.load(path)", "unpickling"),
        ("import numpy as np\nnp.load(path, allow_pickle=True)", "unpickling"),
        ("import torch\ntorch.load(path)", "unpickling"),
        ("import torch\ntorch.load(path, weights_only=False)", "unpickling"),
        ("import yaml\nyaml.load(text)", "unpickling"),
        ("import yaml\nyaml.load(text, yaml.Loader)", "unpickling"),
        ("import yaml\nyaml.unsafe_load(text)", "unpickling"),
        ("import ctypes", "native-code"),
        ("import os\nos.environ['HOME']", "environment"),
        ("from os import getenv", "environment"),
        ("from numpy import *", "star-import"),
        ("open('/etc/passwd')", "files"),
        ("open('~/.ssh/id')", "files"),
        ("open(f'/data/{name}')", "files"),
        (r"open('C:\\data')", "files"),
        ("Path('/')/'x', Path('/etc')", "files"),
    ],
)
def test_what_code_may_do_is_found(source: str, rule: str) -> None:
    assert rule in [found for found, _ in _rules(source)]


@pytest.mark.parametrize(
    "source",
    [
        "",
        "import os\nos.path.join('a', 'b')\nos.getcwd()",
        "import urllib.parse\nurllib.parse.quote(text)",
        "import re\nre.compile('/tmp/x')\nre.compile('/a')",
        "model.compile(loss)\nframe.eval('a + b')\nself.exec()",
        "requests = []\nrequests.append(1)",
        "def f(socket):\n    return socket.sum()",
        "from .subprocess import run",
        "import numpy as np\nnp.load(path)\nnp.load(path, allow_pickle=False)",
        "import torch\ntorch.load(path, weights_only=True)",
        "import yaml\nyaml.safe_load(text)\nyaml.load(text, Loader=yaml.CSafeLoader)",
        "import yaml\nfrom yaml import SafeLoader\nyaml.load(text, SafeLoader)",
        "import joblib\njoblib.Parallel(2)",
        "import importlib\nimportlib.import_module('numpy')",
        "from atoll_algorithm import *",
        "open('a/b.csv')\nopen('/tmp/x')\nopen('/dev/null')\nopen('/computation/table.csv')\nprint('and / or')\nf(*x)",
        "print(f'{x}')\nprint(f'')",
        "(lambda: 1)().x",
        "'see https://example.org for more'",
    ],
)
def test_what_is_harmless_is_left_alone(source: str) -> None:
    assert [] == _rules(source)


def test_modules_of_the_algorithm_are_not_those_of_the_same_name() -> None:
    assert [] == _rules(
        "import requests\nfrom code import f\nfrom code import *", requests="x = 1", code="def f(): ..."
    )
    assert [("process", 2)] == _rules("from tidy import up\nup('ls')", tidy="from os import system as up")


def test_uses_of_one_thing_are_told_together() -> None:
    lines = "\n".join("subprocess.run([])" for _ in range(8))

    (finding,) = _find(f"import subprocess\n{lines}")

    assert (
        "algorithm.py:1",
        "subprocess starts other programs (also on lines 2, 3, 4, 5, 6 and 3 more)",
    ) == (
        finding.place,
        finding.message,
    )


def test_a_second_use_is_on_one_line() -> None:
    (finding,) = _find("import pickle\npickle.loads(x); pickle.loads(y)")

    assert "pickle loads pickled objects (also on line 2)" == finding.message


def test_long_texts_are_cut() -> None:
    (finding,) = _find(f"open('/{'a' * 500}')")

    assert len(finding.message) < 100


# --- What outlasts a call ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("seen = []\ndef f():\n    seen.append(1)", [3]),
        ("seen: dict = {}\ndef f():\n    seen['a'] = 1\n    del seen['a']", [3]),
        ("from collections import defaultdict as d\nseen = d(list)\ndef f():\n    seen.clear()", []),
        ("import collections\nseen = collections.defaultdict(list)\ndef f():\n    seen.clear()", [4]),
        ("count = 0\ndef f():\n    global count\n    count += 1", [4]),
        ("a = b = set()\nasync def f():\n    b.add(1)", [3]),
        ("seen = []\ndef f():\n    seen = []\n    seen.append(1)", []),
        ("seen = []\ndef f(seen):\n    seen.append(1)", []),
        ("seen = []\nseen.append(1)\ndef f():\n    return seen[0], len(seen)", []),
        ("limit = 5\n(x, y) = 1, 2\ndef f():\n    limit.append(1)\n    x.y.append(2)", []),
        ("seen = make()\ndef f():\n    seen.append(1)", []),
        ("seen: list\ndef f():\n    seen.append(1)", []),
    ],
)
def test_what_functions_change_in_their_module_is_found(source: str, lines: list[int]) -> None:
    assert [("global-state", line) for line in lines] == _rules(source)


TOKENS = st.sampled_from([
    "import os", "from os import *", "import pickle as p", "eval(x)", "x = os.system", "x('/a')", "def f():",
    "    global y", "    y = 1", "    y.append(f'{y}')", "class A:", "    x: int = 3", "if x:", "    pass", "y = []",
    "open(*a, **b)", "yaml.load(x, Loader=f())", "import yaml", "[a for a in b]", "__import__()", "lambda: os.environ",
])  # fmt: skip


@given(st.lists(TOKENS, max_size=20))
def test_whatever_is_written_is_read(lines: list[str]) -> None:
    sources = read_sources({"a.py": "\n".join(lines)})

    for source in sources.by_module.values():
        assert all(1 <= one.line <= len(lines) for one in hazards(source, sources, "a.py"))
