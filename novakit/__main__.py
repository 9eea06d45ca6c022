"""``python -m novakit`` is the command ``novakit``. Source: ours."""

import sys

from novakit.cli import main

sys.exit(main())
