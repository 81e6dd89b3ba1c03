"""The configuration file: credentials by name.

`file` reads and checks the file, `place` finds it. `endpoints`, `providers` and `encryption` know those parts of it.
`secret_source` fetches secrets, which may not stand in it, `refresher` imports the functions that it names, `store_url`
places relative paths, and `values` checks its values.
"""

from onerefresh.config.file import Configuration, Entry, config_file, load, parse, read
from onerefresh.config.secret_source import SecretSource

__all__ = ["Configuration", "Entry", "SecretSource", "config_file", "load", "parse", "read"]
