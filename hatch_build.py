"""The description on a package index is the README, with links that work there.

A relative link has no meaning on an index. As soon as `[project.urls]` has a `Source`, each
becomes the address of that file, at the tag of the version.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Description(MetadataHookInterface):
    """Hatchling calls it for the metadata that pyproject.toml names as dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the description."""
        text = Path(self.root, "README.md").read_text("utf-8")
        if source := metadata.get("urls", {}).get("Source"):
            text = with_absolute_links(text, source, f"v{metadata['version']}")
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def with_absolute_links(text: str, source: str, tag: str) -> str:
    """Make relative links absolute: to a picture the file itself, to others the page about the file."""
    elsewhere = r"(?![a-z]+:|#)"
    text = re.sub(rf"(!\[[^]]*\]\(){elsewhere}", rf"\1{source}/raw/{tag}/", text)
    return re.sub(rf"(\[[^]]*\]\(){elsewhere}", rf"\1{source}/blob/{tag}/", text)
