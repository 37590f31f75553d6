"""`python -m hansa.cli`, the same as `hansa`."""

import sys

from hansa.cli.main import main

sys.exit(main())
