"""Every test here: state in a folder of its own, and no thread of ours left behind."""

from __future__ import annotations

from tests.core.conftest import _no_thread_remains, _own_state

__all__ = ["_no_thread_remains", "_own_state"]
