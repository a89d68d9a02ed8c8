"""The main job: what `framemill extract` and `framemill.extract` call.

Light on purpose: a worker process takes long to start, and this module starts it before the rest of a run is
imported.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from framemill.cluster.engines import load_engine

if TYPE_CHECKING:
    from framemill.cluster.request import ExtractRequest, Reporter, RunSummary


def run_extract(request: ExtractRequest, reporter: Reporter | None = None) -> RunSummary:
    """Computes what the dataset does not hold yet of these sources.

    Raises:
        UsageError: the request is wrong; nothing was done.
        SetupError: the machine lacks something, such as a model.
        DatasetError: the output folder cannot be used.
    """
    engine = load_engine(request)
    engine.check()
    try:
        # Where nothing is yet, there is work for sure; else, and in a store, the run looks what is missing.
        if "://" not in request.output and not os.path.lexists(request.output):
            engine.prepare()
        from framemill.cluster.extraction_run import ExtractionRun
        from framemill.cluster.request import SilentReporter

        return ExtractionRun(request, reporter or SilentReporter(), engine).run()
    finally:
        engine.close()
