"""scraper: its acceptance statements (test_NN_...), its parts, and its simulators."""

import sys
from pathlib import Path

PROJECT = Path(__file__).parents[3] / "pipelines" / "scraper"

# The pipeline's own package and its simulators, as its users and its demo have them on the path.
for folder in (PROJECT, PROJECT / "simulators"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
