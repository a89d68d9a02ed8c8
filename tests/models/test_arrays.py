from __future__ import annotations

import numpy as np
import pytest

from framemill.models.arrays import argsort, array_module, await_producer, is_on_host, to_host

strict = pytest.importorskip("array_api_strict")


class Device:
    """An array as CuPy's look: no `__array_namespace__`, and `get` that copies to the host."""

    __module__ = "array_api_strict"

    def get(self) -> None:
        raise AssertionError("nobody asked for a copy")


def test_the_module_comes_from_the_array() -> None:
    assert array_module(np.zeros(2)) is np
    assert array_module(strict.zeros(2)).__name__ == "array_api_strict"
    assert array_module(Device()) is strict


def test_arrays_of_the_host_are_not_copied() -> None:
    array = np.arange(6).reshape(2, 3)
    assert to_host(array) is array and is_on_host(array)
    copied = to_host(strict.asarray(array))
    assert isinstance(copied, np.ndarray)
    np.testing.assert_array_equal(copied, array)
    await_producer(array)  # nothing to wait for, and no CuPy to ask


def test_equal_keys_keep_their_order() -> None:
    keys = [3.0, 1.0, 2.0, 1.0, 3.0, 1.0] * 20
    expected = sorted(range(len(keys)), key=lambda i: keys[i])
    assert argsort(np.array(keys)).tolist() == expected
    assert to_host(argsort(strict.asarray(keys))).tolist() == expected
