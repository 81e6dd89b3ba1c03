"""What a fork must not cut in half."""

from __future__ import annotations

import importlib
import os
import threading
from types import ModuleType

import pytest

from onerefresh.stores.forking import load_modules

PATIENCE = 30.0


def test_a_fork_waits_for_another_thread_s_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that is forked in the middle of an import waits for ever where it imports the same."""
    importing, gate, order = threading.Event(), threading.Event(), list[str]()

    def import_module(name: str) -> ModuleType:
        importing.set()
        assert gate.wait(PATIENCE)
        order.append(f"imported {name}")
        return os

    def fork() -> None:
        child = os.fork()
        if child == 0:
            os._exit(0)
        order.append("forked")
        os.waitpid(child, 0)

    monkeypatch.setattr(importlib, "import_module", import_module)
    threads = [threading.Thread(target=load_modules, args=("one", "two")), threading.Thread(target=fork)]
    threads[0].start()
    assert importing.wait(PATIENCE)
    threads[1].start()
    threads[1].join(0.2)
    gate.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert order == ["imported one", "imported two", "forked"]
