"""The package page shows README.md without the files around it: there its links lead to the repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

HERE = "](https://github.com/onerefresh/onerefresh/blob/main/"


class ReadmeHook(MetadataHookInterface):
    """Fills in the field ``readme``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called by the build, in the folder of the project."""
        text = Path(self.root, "README.md").read_text("utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": re.sub(r"\]\((?![a-z]+:|#)(?:\./)?", HERE, text),
        }
