"""The door to Dakota: parameters files in, results files out, and the `panorama-driver` program between them.

Importing this room imports nothing else: Dakota starts the driver once per evaluation.
"""

__all__ = ["evaluate"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .interfacing import evaluate


def __getattr__(name: str) -> object:
    if name == "evaluate":
        from .interfacing import evaluate

        return evaluate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
