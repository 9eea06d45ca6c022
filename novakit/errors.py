"""The one error class that a user of novakit is meant to see, and notices, which are no errors."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class NovaError(ValueError):
    """A mistake that the user can mend: bad input, a missing file, an impossible setting.

    The message says what came, what was wanted and what to do, for example
    ``clip has 80 frames; NOVA needs 4k+1 (77 or 81). Pass num_frames=77 to trim.``
    The command line catches this class only, prints ``error: …`` and exits with code 2;
    every other exception is a bug of novakit.

    Source: ours.
    """


class NovaNotice(UserWarning):
    """Something worth knowing that is not a mistake: a clip was padded, a keyframe was resized.

    Sent with ``warnings.warn``, so that a notebook shows it, the command line prints ``note: …``
    and a test can ask for it.

    Source: ours.
    """


@contextmanager
def printed_notices(quiet: bool) -> Iterator[None]:
    """Print every NovaNotice as a line `note: ...` when it is sent, the same one once; other warnings pass."""
    told: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", NovaNotice)
        show = warnings.showwarning

        def tell(message, category, *place, **more):
            if not issubclass(category, NovaNotice):
                show(message, category, *place, **more)
            elif not quiet and str(message) not in told:
                told.add(str(message))
                print(f"note: {message}", flush=True)

        warnings.showwarning = tell
        yield
