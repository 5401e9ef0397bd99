"""``python -m parallelbench`` is the command ``parallelbench``."""

import sys

from parallelbench.cli.program import main

sys.exit(main())
