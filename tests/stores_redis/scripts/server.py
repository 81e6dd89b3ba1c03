"""Start a server, and tell of it."""

from pathlib import Path

from tests.core.scripts.common import OPTIONS, heard, say
from tests.servers.valkey import Valkey

server = Valkey(Path(OPTIONS["folder"]))
say(str(server.do("INFO", "server")["process_id"]))
heard()
