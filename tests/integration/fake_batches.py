"""`/v1/files` and `/v1/batches` for `fake_llm`: a batch ends when told to, and each line is answered as a call."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from email.parser import BytesParser
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class FakeBatch:
    """What the provider keeps of one batch."""

    id: str
    input_file: str
    metadata: dict[str, str]
    status: str = "in_progress"
    output_file: str | None = None
    error_file: str | None = None
    total: int = 0
    done: int = 0
    errors: list[dict[str, str]] = field(default_factory=list)

    def body(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "input_file_id": self.input_file,
            "completion_window": "24h",
            "created_at": 0,
            "status": self.status,
            "output_file_id": self.output_file,
            "error_file_id": self.error_file,
            "metadata": self.metadata,
            "request_counts": {"total": self.total, "completed": self.done, "failed": 0},
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
        }


class FakeBatches:
    """Files and batches in memory; `answer` makes the completion of one request's body, and its HTTP status."""

    def __init__(self, answer: Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]) -> None:
        self._answer = answer
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, FakeBatch] = {}

    def lines(self, batch: FakeBatch) -> list[dict[str, Any]]:
        """What was asked for."""
        return [json.loads(line) for line in self.files[batch.input_file].splitlines()]

    def finish(
        self,
        batch: FakeBatch,
        *,
        status: str = "completed",
        errors: dict[str, str] | None = None,
        dropped: frozenset[str] = frozenset(),
    ) -> None:
        """End a batch: `errors` has lines that expired, by identifier, `dropped` those that nothing is said of."""
        errors = errors or {}
        output, failed = [], []
        for line in self.lines(batch):
            name = line["custom_id"]
            if name in dropped:
                continue
            if name in errors:
                error = {"code": errors[name], "message": "not done in time"}
                failed.append({"id": "r", "custom_id": name, "response": None, "error": error})
                continue
            code, body = self._answer(line["body"])
            reply = {"status_code": code, "request_id": "q", "body": body}
            (output if code == 200 else failed).append({"id": "r", "custom_id": name, "response": reply, "error": None})
        batch.status = status
        batch.done = len(output)
        output.reverse()  # no order is promised
        batch.output_file = self._keep(output)
        batch.error_file = self._keep(failed)

    def respond(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """The status and the body of one request."""
        path, _, query = path.partition("?")
        parts = path.removeprefix("/v1/").split("/")
        match (method, parts):
            case ("POST", ["files"]):
                message = BytesParser().parsebytes(
                    b"Content-Type: " + headers["content-type"].encode() + b"\r\n\r\n" + body
                )
                fields = {part.get_param("name", header="content-disposition"): part for part in message.get_payload()}
                assert fields["purpose"].get_payload(decode=True) == b"batch"
                name = f"file-{len(self.files)}"
                self.files[name] = fields["file"].get_payload(decode=True)
                found: dict[str, Any] = {"id": name, "object": "file", "bytes": len(self.files[name]), "created_at": 0}
                return 200, json.dumps(found | {"filename": "f", "purpose": "batch", "status": "processed"}).encode()
            case ("POST", ["batches"]):
                asked = json.loads(body)
                assert asked["endpoint"] == "/v1/chat/completions"
                assert asked["completion_window"] == "24h"
                batch = FakeBatch(f"batch-{len(self.batches)}", asked["input_file_id"], asked["metadata"])
                batch.total = len(self.lines(batch))
                self.batches[batch.id] = batch
                return 200, json.dumps(batch.body()).encode()
            case ("GET", ["batches"]):
                # Pages of one, newest first, as the real list is.
                names = list(reversed(self.batches))
                after = next((item[6:] for item in query.split("&") if item.startswith("after=")), None)
                rest = names[names.index(after) + 1 :] if after else names
                page = [self.batches[name].body() for name in rest[:1]]
                listed = {"object": "list", "data": page, "has_more": len(rest) > 1}
                ids = {"first_id": rest[0], "last_id": rest[0]} if rest else {}
                return 200, json.dumps(listed | ids).encode()
            case ("GET", ["batches", name]) if name in self.batches:
                return 200, json.dumps(self.batches[name].body()).encode()
            case ("GET", ["files", name, "content"]) if name in self.files:
                return 200, self.files[name]
        return 404, b'{"error": {"message": "no such thing"}}'

    def _keep(self, lines: list[dict[str, Any]]) -> str | None:
        if not lines:
            return None
        name = f"file-{len(self.files)}"
        self.files[name] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        return name
