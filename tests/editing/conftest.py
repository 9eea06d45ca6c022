"""Puts the tiny models of tests/models on the path, in every import mode of pytest."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.with_name("models")))
