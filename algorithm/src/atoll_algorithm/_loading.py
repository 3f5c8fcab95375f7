"""An algorithm's module, and the functions in it."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, Dict, List

from atoll_algorithm._marks import mark_of
from atoll_algorithm.errors import NotServed

#: The algorithms that were loaded into this process, by the name of their module.
_loaded: Dict[str, str] = {}
_INSTALLED = ("site-packages", "dist-packages")


def load(target: str) -> Any:
    """Load a file or a package's folder anew.

    While it loads, its folder (a package's parent) is searched before what is installed, and after
    the standard library, so that a file named ``statistics.py`` shadows nothing. Afterwards it is
    searched last: what a host process imports later is not to be found among the algorithm's files.

    Raises:
        NotServed: There is no such file or package.
    """
    path = os.path.abspath(target)
    folder, base = os.path.split(path)
    is_package = os.path.isfile(os.path.join(path, "__init__.py"))
    if not is_package and not (os.path.isfile(path) and base.endswith(".py")):
        raise NotServed("%s is no .py file, and no folder with an __init__.py" % (base or target,))
    name = base if is_package else base[: -len(".py")]
    _forget(name)
    installed = [number for number, one in enumerate(sys.path) if os.path.basename(one) in _INSTALLED]
    sys.path.insert(installed[0] if installed else len(sys.path), folder)
    try:
        module = _import(name, path)
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)
    _loaded[module.__name__] = path
    return module


def _forget(name: str) -> None:
    """Drop an algorithm of this name that was loaded before: its files may have changed."""
    if name in _loaded:
        for one in [one for one in sys.modules if one == name or one.startswith(name + ".")]:
            del sys.modules[one]
        del _loaded[name]
    importlib.invalidate_caches()


def _import(name: str, path: str) -> Any:
    import importlib.util  # 10 ms on old interpreters, which who only decorates doesn't pay

    location = path if path.endswith(".py") else os.path.join(path, "__init__.py")
    there = sys.modules.get(name)
    if there is not None and getattr(there, "__file__", None) == location:
        return there
    # A file named like a module that others import must not take its place.
    taken = there is not None or name in getattr(sys, "stdlib_module_names", ())
    own = "algorithm_" + name if taken else name
    _forget(own)
    spec = importlib.util.spec_from_file_location(
        own, location, submodule_search_locations=None if path.endswith(".py") else [path]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[own] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[own]
        raise
    return module


def functions_of(module: Any) -> Dict[str, Any]:
    """The decorated functions of a module; of a package, those of its loaded modules too."""
    found: Dict[str, Any] = {}
    inner = [module]
    if hasattr(module, "__path__"):
        before = module.__name__ + "."
        inner += [
            one for name, one in sorted(sys.modules.items()) if name.startswith(before) and one is not None
        ]
    for one in inner:
        for name, value in vars(one).items():
            if mark_of(value) is not None:
                found.setdefault(name, value)
    return found


def functions_in(functions: List[Any]) -> Dict[str, Any]:
    """Decorated functions by name.

    Raises:
        NotServed: One has no decorator.
    """
    found: Dict[str, Any] = {}
    for function in functions:
        mark = mark_of(function)
        name = getattr(function, "__name__", type(function).__name__)
        if mark is None:
            raise NotServed("%s has no decorator: put @partial or @central above it" % (name,))
        found[name] = function
        if mark.local is not None:
            found.setdefault(mark.local.__name__, mark.local)
    return found
