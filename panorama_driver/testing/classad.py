"""A little of HTCondor's ClassAd language: comparisons of attributes, joined by `&&` and `||`, and a few functions."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from simpleeval import EvalWithCompoundTypes, InvalidExpression

_TOKEN = re.compile(r"\"[^\"]*\"|'[^']*'|=\?=|=!=|&&|\|\||!(?!=)|TARGET\.|MY\.")
_WORDS = {"=?=": " == ", "=!=": " != ", "&&": " and ", "||": " or ", "!": " not ", "TARGET.": "", "MY.": ""}


def _of_known(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the language: of what is undefined it says nothing."""
    return lambda *given: None if None in given else function(*given)


def _in_list(word: str, words: str) -> bool:
    return word.lower() in re.split(r"[ ,]+", words.lower())


def _regexp(pattern: str, text: str, options: str = "") -> bool:
    return re.search(pattern, text, re.IGNORECASE if "i" in options else 0) is not None


_FUNCTIONS: dict[str, Callable[..., Any]] = {"time": time.time} | {
    name: _of_known(function)
    for name, function in {
        "member": lambda value, values: value in values,
        "regexp": _regexp,
        "split": lambda text, separators: re.split(f"[{re.escape(separators)}]+", text),
        "strcat": lambda *texts: "".join(map(str, texts)),
        "stringlistimember": _in_list,
    }.items()
}


def holds(expression: str, ad: Mapping[str, Any]) -> bool:
    """Whether an expression is true of a job, or of a job and a machine.

    One that cannot be decided, for lack of an attribute, is not.

    Raises
    ------
    ValueError
        It is no expression, or uses more of the language than this knows.
    """
    python = _TOKEN.sub(lambda match: _WORDS.get(match[0], match[0]), expression).strip()
    values = {key.lower(): value for key, value in ad.items()}
    values |= {"true": True, "false": False, "undefined": None, "currenttime": time.time()}
    lower = re.sub(r"\"[^\"]*\"|'[^']*'|[A-Za-z_]\w*", lambda m: m[0] if m[0][0] in "\"'" else m[0].lower(), python)
    evaluator = EvalWithCompoundTypes(functions=_FUNCTIONS, names=lambda node: values.get(node.id))
    try:
        return bool(evaluator.eval(lower))
    except TypeError:  # a comparison with what is undefined
        return False
    except (InvalidExpression, SyntaxError) as problem:
        raise ValueError(f"the stand-in does not understand the expression {expression!r}: {problem}") from None
