"""``python -m parallelbench`` is the command ``parallelbench``."""

import sys

from parallelbench.cli import main

sys.exit(main())
