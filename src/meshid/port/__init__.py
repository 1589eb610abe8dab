"""The mesh port: a listener that lets only admitted peers reach a plain service.

::

    async with MeshPort(mesh, "127.0.0.1:8080", host="0.0.0.0", port=8443):
        await asyncio.Event().wait()
"""

from meshid.port.port import MeshPort
from meshid.port.totals import PortFigures

__all__ = ["MeshPort", "PortFigures"]
