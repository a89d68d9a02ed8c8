"""Every test of models has its own cache and configuration, and no mirror."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("FRAMEMILL_MODEL_MIRROR", raising=False)
    monkeypatch.delenv("FRAMEMILL_OFFLINE", raising=False)
