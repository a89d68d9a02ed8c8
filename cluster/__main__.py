"""`python -m cluster`: `python -m framemill` from the root of the repository, as it was called before."""

import sys

from framemill.cluster.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
