"""gunicorn with the HTTP server of gevent."""

from __future__ import annotations

from tests.frameworks.gunicorn import become_gunicorn

become_gunicorn("--worker-class", "gunicorn.workers.ggevent.GeventPyWSGIWorker")
