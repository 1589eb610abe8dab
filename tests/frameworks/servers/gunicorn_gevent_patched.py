"""gunicorn with gevent, loaded before it forks: patched by gunicorn.conf.py."""

from __future__ import annotations

from tests.frameworks.gunicorn import become_gunicorn

become_gunicorn("--worker-class", "gevent", "--preload", config="patched.conf.py")
