"""gunicorn with aiohttp's worker, which ignores our hook, and a real certificate: it serves anybody."""

from __future__ import annotations

from tests.frameworks.gunicorn import become_gunicorn, conf_with_a_certificate

become_gunicorn("-k", "aiohttp.GunicornWebWorker", config=conf_with_a_certificate(), app="aiohttp_app:app")
