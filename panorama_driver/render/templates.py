"""Templates in a sandbox: a missing name is an error that names file and line, and nothing of Python is reachable."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import PanoramaError

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import SandboxedEnvironment


def read_text(path: Path, error: type[PanoramaError]) -> str:
    """Read a file of a workflow or a site; `error` names `path` and why it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise error(f"{path}: cannot be read: {getattr(problem, 'strerror', None) or problem}") from None


def render_text(source: str, variables: Mapping[str, Any], path: Path, error: type[PanoramaError]) -> str:
    """Render one template; `error` names `path` and the line of what is wrong."""
    from jinja2 import TemplateError, TemplateSyntaxError

    try:
        return _compiled(source).render(variables)
    except TemplateSyntaxError as problem:
        raise error(f"{path}:{problem.lineno}: {problem.message}") from None
    except (TemplateError, TypeError, ValueError, ArithmeticError) as problem:
        raise error(f"{path}:{_line(problem)}: {problem}") from None


@lru_cache(maxsize=256)
def _compiled(source: str) -> Template:
    return _environment().from_string(source)


@lru_cache(maxsize=1)
def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    return SandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )


def _line(problem: BaseException) -> str:
    """Line of the template in which rendering failed, from the traceback that jinja2 rewrites."""
    lines = []
    trace = problem.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return str(lines[-1]) if lines else "?"
