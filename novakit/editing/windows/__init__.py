"""Clips of any length and size: overlapping windows, each edited once and kept on disk, joined without a seam.

`plan` cuts the clip, `edit` edits one window after the other, `store` keeps what is finished, `full_size` brings the
result to the clip's own size, `stretch` renders some frames again.
"""
