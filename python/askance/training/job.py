"""The training process: `python -m askance.training.job`.

One `Spec` comes in as a JSON line on standard input, one `Reply` goes out as a JSON line on standard output. Standard
input stays open for as long as the parent lives: at its end the job is an orphan and ends itself.
"""

from __future__ import annotations

import os
import sys
import threading

import msgspec

from askance.errors import AskanceError, ParityError
from askance.training.spec import Reply, Spec

NICENESS = 10
"""The stream goes first."""

ORPHANED = 70
"""Exit code of a job whose parent died."""


def main() -> int:
    """Run one training; returns the exit code: 0 with a version, 1 with an error in the reply."""
    os.nice(NICENESS)
    line = _read_line()
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    warnings: list[str] = []
    try:
        spec = msgspec.json.decode(line, type=Spec)
        # Imported here: it takes a second or two, in which the parent may already die.
        from askance.training.pipeline import train

        reply = Reply(version=train(spec, on_warning=warnings.append).version)
    except (AskanceError, msgspec.DecodeError) as exc:
        reply = Reply(error=str(exc), refused_parity=isinstance(exc, ParityError))
    reply = msgspec.structs.replace(reply, warnings=tuple(warnings))
    sys.stdout.buffer.write(msgspec.json.encode(reply) + b"\n")
    sys.stdout.buffer.flush()
    return 0 if reply.version else 1


def _read_line() -> bytes:
    # Below Python's buffers: a thread that waits in one of them keeps the interpreter from ending.
    line = b""
    while not line.endswith(b"\n"):
        read = os.read(0, 1 << 16)
        if not read:
            break
        line += read
    return line


def _end_with_parent() -> None:
    while os.read(0, 1 << 16):
        pass
    os._exit(ORPHANED)


if __name__ == "__main__":
    sys.exit(main())
