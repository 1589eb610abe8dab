"""gunicorn with the worker, the file and the application that the row names."""

from __future__ import annotations

from pathlib import Path

from tests.frameworks import gunicorn, scene

options = scene.options()
config = Path(gunicorn.__file__).with_name(options["config"]).read_text("utf-8") if options["config"] else ""
gunicorn.become_gunicorn(*options["arguments"], config=config, app=options["app"])
