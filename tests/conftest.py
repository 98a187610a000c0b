"""What every test may use: the folder of real labelled streams (`pytest --data FOLDER`)."""

from __future__ import annotations

import os
from pathlib import Path

# Its pytest plugin imports it after the last test, when CPython 3.11 may fail to parse what pytest has to rewrite.
import hypothesis  # noqa: F401 - see above
import pytest

# As in a training's own process; scikit-learn's threads wait for each other on a machine that is busy otherwise.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--data",
        type=Path,
        default=None,
        help="folder with the real labelled streams (default: ../shared/data beside the repository)",
    )
    parser.addoption("--screenshots", action="store_true", help="take docs/assets' screenshots of the live page anew")
    parser.addoption("--soak", action="store_true", help="the Kafka tests at five times their size, with more kills")


@pytest.fixture(scope="session")
def data_folder(request: pytest.FixtureRequest) -> Path:
    """The folder of real labelled streams; a test that needs it is skipped where there is none by default."""
    given: Path | None = request.config.getoption("--data")
    folder = given or REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        if given:
            pytest.fail(f"--data {given}: there is no such folder", pytrace=False)
        pytest.skip(f"there is no {folder}; name the folder with --data")
    return folder
