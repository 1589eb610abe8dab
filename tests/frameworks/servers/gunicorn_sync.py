"""gunicorn with its sync workers."""

from __future__ import annotations

from tests.frameworks.gunicorn import become_gunicorn

become_gunicorn("--worker-class", "sync")
