"""A child process that looks at videos and can be killed: a decoder that hangs, or dies, costs one file, not the run.

Source: ours. A thread cannot be stopped while a C library holds Python's lock; a process can.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from contextlib import suppress
from typing import Any

from novakit.errors import NovaError, printed_notices

START_SECONDS = 300.0  # for the child to import what it needs


class Child:
    """Calls `survey` in a process of its own, one video after the other. A context manager.

    Args:
        deadline: seconds for one video; then the child is killed and the next call starts another.
        command: what to start instead of this module.
    """

    def __init__(self, deadline: float, command: list[str] | None = None) -> None:
        self.deadline = deadline
        self.command = command or [sys.executable, "-c", f"from {__name__} import main; main()"]
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def survey(self, video: dict[str, Any], cutting: dict[str, Any]) -> list[dict[str, Any]]:
        """As `novakit.training.preparation.cutting.survey`.

        Raises:
            NovaError: the video's own, or that the child was killed at the deadline, or died.
        """
        if self.process is None:
            self._start()
        with suppress(BrokenPipeError):  # a dead child is noticed by its missing answer
            self.process.stdin.write(json.dumps([video, cutting]).encode() + b"\n")
            self.process.stdin.flush()
        answer = json.loads(self._line(self.deadline) or "{}")
        if "clips" in answer:
            return answer["clips"]
        raise NovaError(answer.get("problem") or self._cause_of_death())

    def _start(self) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(self.command, start_new_session=True, **pipes)  # Ctrl-C is not for it
        if not self._line(START_SECONDS):
            raise RuntimeError(f"the process that reads videos did not start: {self._cause_of_death()}")

    def _line(self, seconds: float) -> bytes:
        """The child's next line; empty when none came in time or it died."""
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        return self.process.stdout.readline() if ready else b""

    def _cause_of_death(self) -> str:
        """Why there is no answer; the child is gone afterwards."""
        try:
            code = self.process.wait(0.5)
            why = f"reading it ended the process that read it (exit code {code}); the file is damaged"
        except subprocess.TimeoutExpired:
            why = f"reading it did not end within {self.deadline:g} s; the file is damaged, or too long"
        self._end()
        return why

    def _end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close(), self.process.stdout.close()
            self.process = None


def main() -> None:
    """Answer requests, one JSON line each, until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    from novakit.training.preparation.cutting import survey

    answers.write(b"ready\n"), answers.flush()
    with printed_notices(quiet=True):  # which decoder read a file is nobody's concern
        for line in sys.stdin.buffer:
            try:
                answer = {"clips": survey(*json.loads(line))}
            except NovaError as error:
                answer = {"problem": str(error)}
            answers.write(json.dumps(answer).encode() + b"\n"), answers.flush()
