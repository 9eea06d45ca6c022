"""Which container a file really is, from its bytes, and whether the file is whole. Source: ours.

FFmpeg guesses from content and name, follows playlists and reads past a missing end without a word.
Here the first bytes decide, only five containers pass, and a cut-off file is refused before decoding.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from novakit.errors import NovaError

_MP4_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp"}
_STILL_BRANDS = {b"avif", b"heic", b"heix", b"mif1"}
_SEGMENT_ID = b"\x18\x53\x80\x67"
_ACCEPTED = "mp4, mov, mkv, webm, avi or gif"
_OTHERS = (
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"BM", "a BMP image"),
    (b"#EXTM3U", "a playlist"),
    (b"ffconcat", "a playlist"),
    (b"ID3", "an audio file"),
    (b"OggS", "an Ogg file"),
    (b"fLaC", "an audio file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%PDF", "a PDF"),
    (b"<", "a web page or XML text"),
)


def require_file(path: str | Path) -> Path:
    """Return ``path`` as a Path if it is an ordinary, non-empty, readable file.

    Raises:
        NovaError: a URL, a missing file, a folder, a device, an empty or unreadable file.
    """
    file = Path(path)
    if "://" in str(path):
        raise NovaError(f"{path} is a URL; a file on this machine was wanted. Download it first.")
    if not file.exists():
        more = " Image sequences are not clips: join them into an mp4 first." if "%" in file.name else ""
        raise NovaError(f"{file} does not exist. Check the path (current folder: {Path.cwd().name}).{more}")
    if file.is_dir():
        raise NovaError(f"{file} is a folder; a video file ({_ACCEPTED}) was wanted. Name a file in it.")
    if not file.is_file():
        raise NovaError(f"{file} is not an ordinary file; a video file ({_ACCEPTED}) was wanted.")
    if not os.access(file, os.R_OK):
        raise NovaError(f"{file} may not be read by you. Change its permissions.")
    if file.stat().st_size == 0:
        raise NovaError(f"{file} is empty (0 bytes); a video file was wanted. Copy or download it again.")
    return file


def check_container(path: Path) -> str:
    """Sniff the container and prove that the file was not cut off.

    Args:
        path: a file that :func:`require_file` let through.

    Returns:
        FFmpeg's name of the demuxer to force: "mp4", "matroska", "gif" or "avi".

    Raises:
        NovaError: not a video container, or the file ends before its own header says.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(64)
        name = _sniff(head)
        if name is None:
            raise NovaError(f"{path} is not a video: it looks like {_describe(head)}. Wanted: {_ACCEPTED}.")
        end = _CHECKS[name](file, size)
    if end is not None:
        rest = (
            f", or keep what is there with `ffmpeg -i {path.name} -c copy whole{path.suffix}`" if end.readable else ""
        )
        raise NovaError(f"{path} is cut off: it has {size} bytes and {end.what}. Copy or download it again{rest}.")
    return name


class _CutOff(NamedTuple):
    """How a check found that a file ends too early."""

    what: str  # what is missing
    readable: bool = True  # a player can still show the part that is there


def _sniff(head: bytes) -> str | None:
    if head[4:8] in _MP4_BOXES:
        return None if head[8:12] in _STILL_BRANDS else "mp4"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    return "avi" if head[:4] == b"RIFF" and head[8:12] == b"AVI " else None


def _describe(head: bytes) -> str:
    for magic, name in _OTHERS:
        if head.startswith(magic):
            return name
    if head[8:12] in _STILL_BRANDS or head[8:12] == b"WEBP":
        return "a still image"
    text = all(byte in (9, 10, 13) or 32 <= byte < 127 for byte in head)
    return "text" if text else f"data that starts with bytes {head[:8].hex(' ')}"


def _mp4_end(file: BinaryIO, size: int) -> _CutOff | None:
    """Walk the top-level boxes; each must end inside the file and one must be the index, moov."""
    position, index_seen = 0, False
    while position + 8 <= size:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        elif length == 0:  # the box runs to the end of the file
            length = size - position
        if length < 8 or not all(32 <= byte < 127 or byte == 0xA9 for byte in kind):
            break  # not a box: trailing bytes that players ignore as well
        if position + length > size:
            return _CutOff(f"its {kind.decode('latin-1')} box alone would end at byte {position + length}", index_seen)
        index_seen = index_seen or kind == b"moov"
        position += length
    missing = "its index (the moov box, often the last thing written) is missing; without it nothing can be decoded"
    return None if index_seen else _CutOff(missing, readable=False)


def _matroska_end(file: BinaryIO, size: int) -> _CutOff | None:
    """Compare the length that the Segment element states (none for live recordings) with the file."""
    file.seek(4)
    header_length, _ = _read_vint(file)
    file.seek(header_length, os.SEEK_CUR)
    if file.read(4) != _SEGMENT_ID:
        return _CutOff("its Segment element is missing", readable=False)
    length, unknown = _read_vint(file)
    end = file.tell() + length
    return _CutOff(f"its Segment element would end at byte {end}") if not unknown and end > size else None


def _read_vint(file: BinaryIO) -> tuple[int, bool]:
    """EBML variable-length integer: (value, whether it is the reserved 'unknown' value)."""
    first = (file.read(1) or b"\x00")[0]
    if first == 0:
        return 0, False
    extra = 8 - first.bit_length()
    value = int.from_bytes(bytes([first & (0x7F >> extra)]) + file.read(extra), "big")
    return value, value == (1 << 7 * (extra + 1)) - 1


def _gif_end(file: BinaryIO, size: int) -> _CutOff | None:
    file.seek(max(0, size - 64))
    ends_well = file.read().rstrip(b"\x00").endswith(b";")
    return None if ends_well else _CutOff("its end mark (byte 3b) is missing")


def _avi_end(file: BinaryIO, size: int) -> _CutOff | None:
    file.seek(4)
    end = 8 + int.from_bytes(file.read(4), "little")
    return _CutOff(f"its RIFF header says {end}") if end > size else None


_CHECKS = {"mp4": _mp4_end, "matroska": _matroska_end, "gif": _gif_end, "avi": _avi_end}
