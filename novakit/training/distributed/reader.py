"""The next batch is read while the network works on this one.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Generic, TypeVar

from novakit.errors import NovaError

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """What `read(step)` returns, read one step ahead, one step at a time.

    The thread is a daemon: a disk that hangs does not keep the program alive.

    Args:
        read: reads what a step wants; a pure function of the step.
        patience: seconds after which a read counts as hanging.
    """

    def __init__(self, read: Callable[[int], T], patience: float) -> None:
        self.read, self.patience = read, patience
        self._ahead: dict[int, Future] = {}

    def take(self, step: int) -> T:
        """What step `step` wants, the same object however often it is asked for; begins to read the next.

        Raises:
            NovaError: nothing came in time, or what `read` raised.
        """
        self._begin(step)
        try:
            found = self._ahead[step].result(self.patience)
        except TimeoutError:
            raise NovaError(
                f"the data did not give batch {step} within {self.patience:g} s: the disk or the network that it lies "
                "on hangs. The newest checkpoint is whole; look at the disk, then give the same command again."
            ) from None
        self._ahead = {ahead: future for ahead, future in self._ahead.items() if ahead >= step}
        self._begin(step + 1)
        return found

    def _begin(self, step: int) -> None:
        if step not in self._ahead:
            self._ahead[step] = Future()
            Thread(target=self._run, args=(step, self._ahead[step]), name="batch", daemon=True).start()

    def _run(self, step: int, future: Future) -> None:
        try:
            future.set_result(self.read(step))
        except BaseException as error:  # raised again by `take`
            future.set_exception(error)
