from typing import Any

import pandas

Table = pandas.DataFrame

class LabelledDatabase:
    label: str
    def __init__(self, label: str) -> None: ...

def database(label: str) -> Any: ...
