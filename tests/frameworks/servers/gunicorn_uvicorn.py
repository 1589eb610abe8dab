"""gunicorn with uvicorn's worker, which ignores our hook, and a real certificate: it serves anybody."""

from __future__ import annotations

from tests.frameworks.gunicorn import become_gunicorn, conf_with_a_certificate

become_gunicorn("-k", "uvicorn.workers.UvicornWorker", config=conf_with_a_certificate(), app="asgi_app:app")
