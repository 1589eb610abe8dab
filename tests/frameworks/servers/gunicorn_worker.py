"""gunicorn with the worker, the file and the application that the row names."""

from __future__ import annotations

from tests.frameworks import scene
from tests.frameworks.gunicorn import become_gunicorn

options = scene.options()
become_gunicorn(*options["arguments"], config=options["config"], app=options["app"])
