"""gunicorn with gevent, which loads the application before it forks."""

from __future__ import annotations

from tests.frameworks.gunicorn import PATCHED, become_gunicorn, gunicorn_conf

become_gunicorn("--worker-class", "gevent", "--preload", config=PATCHED + gunicorn_conf())
