"""Fetches the page's charting library from the npm registry, checks it, and records what it is (`make vendor`).

The files are committed, so that neither a build nor an install needs node; `tests/unit/test_page.py` holds them to the
record.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

PACKAGE, VERSION = "uplot", "1.6.32"
INTEGRITY = "sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw=="
FILES = {
    "package/dist/uPlot.iife.min.js": "uPlot.iife.min.js",
    "package/dist/uPlot.min.css": "uPlot.min.css",
    "package/LICENSE": "uPlot.LICENSE",
}
FOLDER = Path(__file__).parents[2] / "python" / "askance" / "page" / "static" / "vendor"


def main() -> None:
    """Write the files and their record."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}"], cwd=folder, check=True)
        archive = next(Path(folder).glob("*.tgz"))
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if f"sha512-{digest}" != INTEGRITY:
            raise SystemExit(f"{PACKAGE} {VERSION} is not what it was: sha512-{digest}, not {INTEGRITY}")
        with tarfile.open(archive) as opened:
            contents = {name: opened.extractfile(path).read() for path, name in FILES.items()}
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (FOLDER / name).write_bytes(content)
    record = {
        "package": PACKAGE,
        "version": VERSION,
        "integrity": INTEGRITY,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    (FOLDER / "uplot.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
