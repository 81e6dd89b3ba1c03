"""A process and its forked child. One of them (`newest`) refreshes, and is silent; then the other one asks."""

import importlib
import json
import os

from tests.core.scripts.common import OPTIONS, credential, heard, say

from onerefresh import OnerefreshError

for path, value in json.loads(OPTIONS["patches"]).items():
    module, _, name = path.rpartition(".")
    setattr(importlib.import_module(module), name, value)

acme = credential()
first = acme.token()
says_reads, says_writes = os.pipe()
ask_reads, ask_writes = os.pipe()


def refresh() -> None:
    assert acme.token(refused=first).generation == 2


def ask() -> None:
    try:
        say(str(acme.token(refused=first).generation))
    except OnerefreshError as error:
        say(f"{type(error).__name__}: {error}")


child = os.fork()
if child == 0:
    try:
        if OPTIONS["newest"] == "child":
            refresh()
        os.write(says_writes, b"!")
        os.read(ask_reads, 1)
        if OPTIONS["newest"] == "parent":
            ask()
            os.write(says_writes, b"!")
    finally:
        os._exit(0)
os.read(says_reads, 1)
if OPTIONS["newest"] == "parent":
    refresh()
say("the store may lose it")
heard()
if OPTIONS["newest"] == "child":
    ask()
os.write(ask_writes, b"!")
if OPTIONS["newest"] == "parent":
    os.read(says_reads, 1)
os.waitpid(child, 0)
