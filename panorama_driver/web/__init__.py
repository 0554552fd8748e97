"""The dashboard and its JSON API: shows what studies and their workflows did and do, and changes nothing.

`Dashboard` serves a `Library` of studies and stores by HTTP; `application` is what it serves, for servers of one's own.
The pages are plain modules in `static/`; what they show comes from the API alone, which `docs/openapi.json` describes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._app import Application, application
    from ._library import Library
    from ._limits import Limits
    from ._published import Published
    from ._server import Dashboard

__all__ = ["Application", "Dashboard", "Library", "Limits", "Published", "application"]

_MODULES = {
    "Application": "_app",
    "application": "_app",
    "Dashboard": "_server",
    "Library": "_library",
    "Limits": "_limits",
    "Published": "_published",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: the web server's packages are an extra."""
    import importlib

    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
