"""What a parameter's annotation asks for, by name, so that nothing is imported to find out."""

from __future__ import annotations

import sys
from typing import Any, Dict, Optional, Tuple, Union

#: Module's first part and name of the type -> what fills the parameter.
FILLED: Dict[Tuple[str, str], str] = {
    ("atoll_algorithm", "Table"): "pandas",
    ("pandas", "DataFrame"): "pandas",
    ("pyarrow", "Table"): "pyarrow",
    ("polars", "DataFrame"): "polars",
    ("pathlib", "Path"): "path",
    ("pathlib", "PosixPath"): "path",
    ("atoll_algorithm", "Sites"): "sites",
    ("atoll_algorithm", "Parts"): "parts",
    ("numpy", "Generator"): "numpy_random",
    ("random", "Random"): "random",
}
#: What fills a parameter with a database.
DATABASES = ("pandas", "pyarrow", "polars", "path")
#: An annotation that can't be evaluated is known by how it is commonly written.
_WRITTEN = {
    "Table": "pandas",
    "DataFrame": "pandas",
    "pd.DataFrame": "pandas",
    "pandas.DataFrame": "pandas",
    "pa.Table": "pyarrow",
    "pyarrow.Table": "pyarrow",
    "pl.DataFrame": "polars",
    "polars.DataFrame": "polars",
    "Path": "path",
    "pathlib.Path": "path",
    "Sites": "sites",
    "Parts": "parts",
    "np.random.Generator": "numpy_random",
    "numpy.random.Generator": "numpy_random",
    "Random": "random",
    "random.Random": "random",
}


def annotation_of(function: Any, parameter: str) -> Any:
    """A parameter's annotation, evaluated where that can be done; else its text; else None."""
    try:
        annotations = function.__annotations__
    except NameError:
        # Since 3.14 annotations are evaluated when asked for, and some names exist for type checkers only.
        import annotationlib  # type: ignore[import-not-found] # older versions have none, and need none

        annotations = annotationlib.get_annotations(function, format=annotationlib.Format.FORWARDREF)
    annotation = annotations.get(parameter)
    annotation = getattr(annotation, "__forward_arg__", annotation)
    if not isinstance(annotation, str):
        return annotation
    try:
        # The text is the algorithm's own code, as all that is called here.
        return eval(annotation, function.__globals__)  # noqa: S307 -- the algorithm's own code
    except Exception:  # whatever evaluating raises: the text is then all that is known
        return annotation


def split_optional(annotation: Any) -> Tuple[Any, bool]:
    """An annotation without its ``| None``, and whether it had one."""
    if isinstance(annotation, str):
        parts = [part.strip() for part in annotation.split("|")]
        if "None" in parts and len(parts) == 2:
            return next(part for part in parts if part != "None"), True
        if annotation.startswith("Optional[") and annotation.endswith("]"):
            return annotation[len("Optional[") : -1].strip(), True
        return annotation, False
    union = getattr(annotation, "__origin__", None) is Union or (
        "types" in sys.modules and isinstance(annotation, getattr(sys.modules["types"], "UnionType", ()))
    )
    if union:
        others = [one for one in annotation.__args__ if one is not type(None)]
        if len(others) == 1 and len(annotation.__args__) == 2:
            return others[0], True
    return annotation, False


def filler(annotation: Any) -> Optional[str]:
    """What fills a parameter of this annotation, or None: an argument does."""
    plain, _ = split_optional(annotation)
    if isinstance(plain, str):
        return _WRITTEN.get(plain)
    if isinstance(plain, type):
        return FILLED.get((plain.__module__.partition(".")[0], plain.__qualname__))
    return None


def resolve(function: Any, parameter: str) -> Optional[str]:
    """What fills a function's parameter, or None: an argument does."""
    return filler(annotation_of(function, parameter))
