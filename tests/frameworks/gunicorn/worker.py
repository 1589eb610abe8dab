"""uvicorn's worker, with a context of ours."""

from __future__ import annotations

from uvicorn.workers import UvicornWorker


def context(*_):
    from asgi import context

    return context


class MeshWorker(UvicornWorker):
    CONFIG_KWARGS = {**UvicornWorker.CONFIG_KWARGS, "ssl_context_factory": context}
