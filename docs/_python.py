"""Functions and classes for programs: how they are called, what they take, give and raise, out of numpy docstrings."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from _markdown import codes, prose, table
from numpydoc.docscrape import NumpyDocString, Parameter

_PLAIN = (bool, int, float, str, bytes, type(None))


def described(name: str, what: Any) -> list[str]:
    """A function, or a class with its methods; `name` is what it is imported by, such as `panorama_driver.evaluate`."""
    module, _, short = name.rpartition(".")
    lines = ["", f"### {short}", "", "```python", f"from {module} import {short}"]
    if not isinstance(what, type):
        return [*lines, "", *_call(short, what), "```", *_told(what)]
    methods = [(each, one) for each, one in vars(what).items() if inspect.isfunction(one) and not each.startswith("_")]
    return [*lines, "```", *_told(what), *(line for each, one in methods for line in _method(short, each, one))]


def _method(of: str, name: str, what: Callable[..., Any]) -> Iterator[str]:
    yield from ("", f"#### {of}.{name}", "", "```python", *_call(name, what), "```", *_told(what))


def _call(name: str, what: Callable[..., Any]) -> list[str]:
    """How it is called, without types, which stand in the table."""
    signature = inspect.signature(what)
    parameters = [one for one in signature.parameters.values() if one.name != "self"]
    bare = [one.replace(annotation=one.empty, default=_default(one.default)) for one in parameters]
    return [f"{name}{signature.replace(parameters=bare, return_annotation=signature.empty)}"]


class _Spelled(str):
    """A default as people write it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _default(given: Any) -> Any:
    if isinstance(given, enum.Enum):
        return _Spelled(f"{type(given).__name__}.{given.name}")
    return given if isinstance(given, _PLAIN) or given in ((), inspect.Parameter.empty) else _Spelled("...")


def _told(what: Any) -> Iterator[str]:
    doc = NumpyDocString(inspect.getdoc(what) or "")
    yield from ("", prose(" ".join(doc["Summary"])), "", *doc["Extended Summary"])
    for head, section in (("parameter", "Parameters"), ("attribute", "Attributes")):
        if doc[section]:
            rows = ((codes([one.name]), prose(one.type), _words(one)) for one in doc[section])
            yield from ("", *table((head, "type", "what it is"), rows))
    for one in doc["Returns"]:
        yield from ("", f"**Gives** {prose(one.type)}: {_words(one)}" if one.desc else f"**Gives** {prose(one.type)}.")
    if doc["Raises"]:
        yield from ("", *table(("raises", "where"), ((codes([one.type]), _words(one)) for one in doc["Raises"])))


def _words(of: Parameter) -> str:
    return prose(" ".join(of.desc))
