"""A process that runs one model in one way, for `benchmark`."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

_TURN = 0.3  # seconds that a turn should take


class Candidate:
    """The process, and what it was asked to run; `error` is a sentence once it has failed."""

    def __init__(self, name: str, precision: str, command: Sequence[str], is_peer: bool, spec: dict[str, Any]) -> None:
        self.name, self.precision, self.is_peer, self.error = name, precision, is_peer, ""
        self.repeat: dict[int, int] = {}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        self._ask({"name": name, "precision": precision, **spec})

    def run(self, batch: int) -> dict[str, Any]:
        """One turn: its median seconds, and the peak memory."""
        answer = self._ask({"batch": batch, "repeat": self.repeat.get(batch, 1)})
        if self.error:
            return {}
        median = statistics.median(answer["seconds"])
        self.repeat[batch] = max(1, min(50, int(_TURN / median)))
        return {"seconds": median, "peak_bytes": answer["peak_bytes"]}

    def close(self) -> None:
        with suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        if self.error:
            return {}
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            answer = json.loads(self.process.stdout.readline())
        except (OSError, ValueError):  # a closed pipe, or an empty line
            answer = {"error": "its process ended"}
        self.error = answer.get("error", "")
        return answer
