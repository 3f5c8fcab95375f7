"""Documents that people write in YAML, read strictly: nothing in them is lost or taken for something else.

A key that comes twice is refused, and so is a document that becomes very large once what is shared
in it is written out.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from atoll.model.errors import SpecInvalid

#: What a thousand sites say of themselves is a tenth of it.
VALUES_MAX = 1_000_000
#: The key ``<<``, which stands for those of another mapping.
_MERGE = "tag:yaml.org,2002:merge"


def load_yaml(text: str, path: Path, *, expected: str) -> Any:
    """What a document holds.

    Args:
        text: the document.
        path: where it was read, for sentences.
        expected: what it should hold.

    Raises:
        SpecInvalid: it is not YAML, or not as strict as it should be.
    """
    try:
        document = yaml.load(text, Loader=_OnlyOnce)  # noqa: S506  # It is the safe loader, and stricter.
    except yaml.YAMLError as error:
        words = " ".join(str(error).split()).replace('in "<unicode string>", ', "at ")
        raise SpecInvalid(f"{path} is not YAML: {words}") from None
    except ValueError as error:  # What looks like a date is none, or a number has thousands of digits.
        raise SpecInvalid(f"{path} can't be read: {error}. Put such a value in quotes") from None
    except RecursionError:
        raise SpecInvalid(f"{path} can't be read: it is nested too deeply") from None
    if _has_too_much(document):
        raise SpecInvalid(f"{path} holds more than {VALUES_MAX} values: expected {expected}")
    return document


def only(document: Mapping[Any, Any], known: tuple[str, ...], where: str, faults: list[str]) -> None:
    """Note every key that nobody knows, with the one that may be meant."""
    for key in document:
        if key not in known:
            near = get_close_matches(str(key), known, 1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Expected {', '.join(known)}."
            faults.append(f"{where}: nothing is known of {key!r}.{hint}")


def kind(value: Any) -> str:
    """What a value is, in a word or two."""
    names = {list: "a list", dict: "a mapping", bool: "true or false", type(None): "nothing", str: "text"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else "a date")


def is_plain(text: str) -> bool:
    """Whether a text can be passed on to a process."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:  # half a pair of surrogates
        return False


def _has_too_much(document: Any) -> bool:
    """Whether a document is very large once what is shared in it is written out, as JSON writes it."""
    waiting, count = [document], 0
    while waiting and count <= VALUES_MAX:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple | set):
            waiting.extend(value)
    return count > VALUES_MAX


class _OnlyOnce(yaml.SafeLoader):
    """Refuses a key that comes twice: one of the two would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  # as the library has it
        seen = set()
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            # Lists that hold each other ten times over would take for ever to be written out.
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    "while constructing a mapping", node.start_mark, "a key is no text", key.start_mark
                )
            name = repr(self.construct_object(key, deep=True))
            if name in seen:
                where = key.start_mark
                raise yaml.constructor.ConstructorError(None, None, f"the key {name} comes twice", where)
            seen.add(name)
        return super().construct_mapping(node, deep)
