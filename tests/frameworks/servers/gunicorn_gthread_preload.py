"""gunicorn that loads the application before it forks its workers with threads."""

from __future__ import annotations

from tests.frameworks.gunicorn import become_gunicorn

become_gunicorn("--worker-class", "gthread", "--threads", "8", "--preload")
