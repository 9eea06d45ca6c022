"""Measuring edits: metrics in regions, baselines on the same base, the table of nano scores, speed and memory."""
