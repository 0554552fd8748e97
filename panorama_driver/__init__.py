"""Dakota studies over whole Pegasus workflows, measured.

Importing this package imports nothing else: the analysis driver is started once per evaluation.
"""

__version__ = "0.1.0"
__all__ = ["__version__", "evaluate"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .dakota import evaluate


def __getattr__(name: str) -> object:
    if name == "evaluate":
        from .dakota import evaluate

        return evaluate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
