"""Libraries that are imported when something of them is used."""

from __future__ import annotations

import subprocess
import sys

import cv2
import pyarrow.compute
import pytest

from framemill.ops import at_first_use

USED = """
import sys
from framemill.ops.at_first_use import cv2, pc
assert not {"cv2", "pyarrow.compute"} & set(sys.modules)
cv2.INTER_AREA
assert "cv2" in sys.modules and "pyarrow.compute" not in sys.modules
pc.unique
assert "pyarrow.compute" in sys.modules
"""


def test_a_library_is_imported_when_something_of_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-c", USED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_used_is_the_librarys_own() -> None:
    assert at_first_use.cv2.resize is cv2.resize and at_first_use.cv2.error is cv2.error
    assert at_first_use.pc.unique is pyarrow.compute.unique


def test_what_the_library_does_not_have_is_missing_by_its_name() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = at_first_use.cv2.no_such_thing


AT_ONCE = """
import threading
from framemill.ops.at_first_use import pc
start, found = threading.Barrier(8), []
def use():
    start.wait()
    found.append((pc.unique, pc.year))
threads = [threading.Thread(target=use) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(found) == 8 and len(set(found)) == 1, found
"""


def test_threads_that_use_it_first_at_once_all_get_it_whole() -> None:
    done = subprocess.run([sys.executable, "-c", AT_ONCE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
