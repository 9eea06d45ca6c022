"""The one error class that a user of novakit is meant to see."""

from __future__ import annotations


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
