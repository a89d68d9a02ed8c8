"""`python -m cluster`: the command where no console script is installed, such as in a Ray job."""

import sys

from framemill.cluster.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
