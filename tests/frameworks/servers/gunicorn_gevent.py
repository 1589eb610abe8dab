"""gunicorn with gevent, which patches each worker before it loads the application."""

from __future__ import annotations

from tests.frameworks.gunicorn import become_gunicorn

become_gunicorn("--worker-class", "gevent")
