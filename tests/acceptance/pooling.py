"""A computation that pools a column: files go out, a file comes back, and one stays at each site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from tests.acceptance.computations import script, write_computation
from tests.stage import EXAMPLES

ISLANDS = ("Biscoe", "Dream", "Torgersen")
COLUMN = "body_mass_g"
_SPEC = {
    "input": {
        "data": {"type": "files", "source": "member", "label": "Data"},
        "column": {"type": "text", "source": "owner", "label": "Column"},
    },
    "output": {"mean": {"type": "number", "label": "Mean"}},
}
_LOCAL = """
    import csv
    base, transfer = state['baseDirectory'], state['transferDirectory']
    if state['iteration'] == 1:
        given = doc['input']
        values = []
        for name in given['data']:
            with open(os.path.join(base, name), newline='') as file:
                values += [float(row[given['column']]) for row in csv.DictReader(file) if row[given['column']] != 'NA']
        with open(os.path.join(transfer, 'sums.json'), 'w') as file:
            json.dump({'n': len(values), 'sum': sum(values)}, file)
    else:
        with open(os.path.join(base, 'pooled.json')) as file:
            mean = json.load(file)['mean']
        with open(os.path.join(state['outputDirectory'], 'kept.json'), 'w') as file:
            json.dump(mean, file)
        answer['output'] = {'mean': mean}
"""
_REMOTE = """
    base, transfer = state['baseDirectory'], state['transferDirectory']
    if state['iteration'] == 1:
        parts = [json.load(open(os.path.join(base, site, 'sums.json'))) for site in doc['input']]
        mean = sum(part['sum'] for part in parts) / sum(part['n'] for part in parts)
        with open(os.path.join(transfer, 'pooled.json'), 'w') as file:
            json.dump({'mean': mean}, file)
    else:
        means = {output['mean'] for output in doc['input'].values()}
        with open(os.path.join(transfer, 'report.txt'), 'w') as file:
            file.write('all sites agree' if len(means) == 1 else 'they differ')
        answer = {'output': {'mean': means.pop(), 'sites': sorted(doc['input'])}, 'success': True}
"""


def pooling(folder: Path) -> Path:
    """The computation, in a folder. It is called as the folder is."""
    return write_computation(folder, local=script(_LOCAL), remote=script(_REMOTE), spec=_SPEC)


def asked(column: str = COLUMN) -> dict[str, Any]:
    """What the owner of a run gives to it."""
    return {"column": {"value": column}}


def rows(*islands: str) -> pd.DataFrame:
    """The rows of some islands, or of all."""
    folder = EXAMPLES / "functions" / "islands"
    tables = [pd.read_csv(folder / f"{island.lower()}.csv") for island in islands or ISLANDS]
    return pd.concat(tables, ignore_index=True)


def mean_of(*islands: str, column: str = COLUMN) -> float:
    """The mean of a column, of all rows at once."""
    return float(rows(*islands)[column].mean())
