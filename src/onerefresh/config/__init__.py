"""The configuration file: credentials by name.

`file` finds, reads and checks it, `secret_source` fetches what must not stand in it, `refresher` imports what it names,
`values` are its values.
"""

from onerefresh.config.file import Configuration, Entry, config_file, load, parse, read
from onerefresh.config.secret_source import SecretSource

__all__ = ["Configuration", "Entry", "SecretSource", "config_file", "load", "parse", "read"]
