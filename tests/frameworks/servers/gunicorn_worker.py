"""gunicorn with the worker and the application that the row names."""

from __future__ import annotations

from tests.frameworks import scene
from tests.frameworks.gunicorn import become_gunicorn, gunicorn_conf

options = scene.options()
app = options["app"]
config = gunicorn_conf().replace("from app import", f"from {app} import")
become_gunicorn(*options["arguments"], config=config, app=f"{app}:app")
