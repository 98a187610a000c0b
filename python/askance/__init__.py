"""askance: a streaming text classifier that teaches itself from an LLM.

For notebooks and consumers of one's own: `Student`, `Gate`, `decide`, `Sampler`, `estimate`, `estimate_run`,
`simulate`. They are imported when they are first used, so that `import askance` costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from askance.api import (
        Decided,
        Estimate,
        Gate,
        Outcome,
        Queried,
        Sampler,
        Student,
        WindowEstimate,
        decide,
        estimate,
        estimate_run,
        simulate,
    )

__version__ = "0.1.0"
__all__ = [
    "Decided",
    "Estimate",
    "Gate",
    "Outcome",
    "Queried",
    "Sampler",
    "Student",
    "WindowEstimate",
    "__version__",
    "decide",
    "estimate",
    "estimate_run",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        msg = f"module 'askance' has no attribute {name!r}"
        raise AttributeError(msg)
    from askance import api

    return getattr(api, name)
