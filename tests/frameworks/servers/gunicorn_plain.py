"""gunicorn without `certfile`, which speaks plain HTTP in spite of our hook."""

from __future__ import annotations

from tests.frameworks.gunicorn import become_gunicorn, gunicorn_conf

become_gunicorn("-k", "gthread", config=gunicorn_conf().replace("certfile", "unused"))
