"""Video files in and out: probe, read, resize, write, keyframe and mask files. Source: ours.

PyAV looks at a file first, decord decodes it, PyAV decodes where decord cannot, PyAV writes.
"""

from novakit.video.clip import (
    Clip,
    PaddedClip,
    check_num_frames,
    cut_back,
    largest_4k1,
    pad_to_4k1,
    read_clip,
)
from novakit.video.decode import choose_reader, iter_frames
from novakit.video.encode import even_size, write_clip
from novakit.video.geometry import Geometry, choose_size, frame_to_tensor, resize
from novakit.video.keyframe_store import KeyframeStore, read_keyframes
from novakit.video.mask_files import check_mask_file, iter_mask, read_mask
from novakit.video.probing import ClipInfo, probe
from novakit.video.splice import GROUP, frames_to_encode, replace_frames

__all__ = [
    "GROUP",
    "Clip",
    "ClipInfo",
    "Geometry",
    "KeyframeStore",
    "PaddedClip",
    "check_mask_file",
    "check_num_frames",
    "choose_reader",
    "choose_size",
    "cut_back",
    "even_size",
    "frame_to_tensor",
    "frames_to_encode",
    "iter_frames",
    "iter_mask",
    "largest_4k1",
    "pad_to_4k1",
    "probe",
    "read_clip",
    "read_keyframes",
    "read_mask",
    "replace_frames",
    "resize",
    "write_clip",
]
