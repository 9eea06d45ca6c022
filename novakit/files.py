"""Files that are either complete or absent: atomic writing, hashes, folder checks. Source: ours."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from novakit.errors import NovaError

_CHUNK_BYTES = 1 << 20


def require_writable_folder(path: str | Path) -> Path:
    """Create a folder if it is missing and prove, by writing, that files can be put there.

    Args:
        path: the folder.

    Returns:
        The folder as a ``Path``.

    Raises:
        NovaError: something else has that name, or the folder cannot be made or written.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError):
        raise NovaError(f"{folder} cannot be a folder: a file is in the way. Choose another.") from None
    except OSError as error:
        raise NovaError(
            f"cannot write into the folder {folder}: {error.strerror or error}. "
            "Choose a folder that you may write to, or free some space."
        ) from None
    return folder


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary sibling to write to; it takes the place of ``path`` only if the block succeeds.

    The sibling keeps the suffix of ``path``, is flushed to disk (fsync) and then renamed, so that
    nobody ever sees a half-written file. On any exception it is deleted and ``path`` stays as it was.
    Whoever writes it (safetensors makes private files), others may read it as any file of plain ``open``.

    Args:
        path: the final file. Its folder is created if missing.

    Yields:
        The temporary path; the block must write a file there.

    Raises:
        NovaError: the folder is not writable, ``path`` is a folder, or the block wrote nothing.
    """
    final = Path(path)
    if final.is_dir():
        raise NovaError(f"{final} is a folder; a file name was wanted. Add a name: {final / 'edit.mp4'}.")
    folder = require_writable_folder(final.parent)
    temporary = folder / f".{final.stem[:80]}.{os.getpid()}-{os.urandom(4).hex()}{final.suffix}"
    try:
        yield temporary
        _rename_when_on_disk(temporary, final)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _rename_when_on_disk(temporary: Path, final: Path) -> None:
    try:
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        give_usual_permissions(temporary)
        os.replace(temporary, final)
    except FileNotFoundError:
        raise NovaError(f"nothing was written for {final}; write to the path given by atomic_path.") from None
    except OSError as error:
        raise NovaError(f"cannot put {final} in place: {error.strerror or error}.") from None


def give_usual_permissions(path: Path) -> None:
    """Give a file the permissions of a new one that plain ``open`` makes beside it: 0o666 less the umask.

    The umask is read off such a file: asking for it would change it for all threads.
    """
    beside = path.with_name(f"{path.stem}.{os.urandom(4).hex()}")
    with open(beside, "xb") as file:
        usual = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    beside.unlink()
    if stat.S_IMODE(path.stat().st_mode) != usual:
        path.chmod(usual)


def size_text(size: float) -> str:
    """Bytes in the largest unit that shows something: 850 bytes, 12.5 kB, 1.2 MB, 3.45 GB."""
    for unit, least, digits in (("GB", 1e9, 2), ("MB", 1e6, 1), ("kB", 1e3, 1)):
        if size >= least:
            return f"{size / least:.{digits}f} {unit}"
    return f"{size:.0f} bytes"


def atomic_write_bytes(path: str | Path, data: bytes) -> Path:
    """Write bytes so that ``path`` holds all of them or what it held before; returns ``path``."""
    with atomic_path(path) as temporary:
        try:
            temporary.write_bytes(data)
        except OSError as error:
            raise NovaError(f"cannot write {path}: {error.strerror or error}.") from None
    return Path(path)


def atomic_write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text atomically, newlines as they are; returns ``path``."""
    return atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: str | Path, data: Any) -> Path:
    """Write ``data`` as indented JSON with a final newline, atomically; returns ``path``.

    Raises:
        NovaError: ``data`` holds something JSON cannot say (NaN and infinity included).
    """
    try:
        text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise NovaError(f"cannot write {path} as JSON: {error}. Use finite numbers, text, lists, dicts.") from None
    return atomic_write_text(path, text + "\n")


def sha256(path: str | Path) -> str:
    """SHA-256 of a file as 64 lower-case hex digits, read in pieces of 1 MiB.

    Raises:
        NovaError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise NovaError(f"cannot read {path}: {error.strerror or error}. Check the path.") from None
    return digest.hexdigest()
