"""A little of HTCondor's ClassAd language: comparisons of a job's attributes, joined by `&&` and `||`."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from simpleeval import InvalidExpression, SimpleEval

_TOKEN = re.compile(r"\"[^\"]*\"|'[^']*'|=\?=|=!=|&&|\|\||!(?!=)|TARGET\.|MY\.")
_WORDS = {"=?=": " == ", "=!=": " != ", "&&": " and ", "||": " or ", "!": " not ", "TARGET.": "", "MY.": ""}


def holds(expression: str, ad: Mapping[str, Any]) -> bool:
    """Whether an expression is true of a job; one that cannot be decided, for lack of an attribute, is not.

    Raises
    ------
    ValueError
        It is no expression, or uses more of the language than this knows.
    """
    python = _TOKEN.sub(lambda match: _WORDS.get(match[0], match[0]), expression).strip()
    values = {key.lower(): value for key, value in ad.items()}
    values |= {"true": True, "false": False, "undefined": None, "currenttime": time.time()}
    lower = re.sub(r"\"[^\"]*\"|'[^']*'|[A-Za-z_]\w*", lambda m: m[0] if m[0][0] in "\"'" else m[0].lower(), python)
    evaluator = SimpleEval(functions={"time": time.time}, names=lambda node: values.get(node.id))
    try:
        return bool(evaluator.eval(lower))
    except TypeError:  # a comparison with what is undefined
        return False
    except (InvalidExpression, SyntaxError) as problem:
        raise ValueError(f"the stand-in does not understand the expression {expression!r}: {problem}") from None
