"""The application that somebody has named as ``module:name``."""

from __future__ import annotations

import importlib
import inspect
import operator
import pkgutil
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType, TracebackType
from typing import cast

from meshid.cli.no_answer import NoAnswer
from meshid.http import ASGIMiddleware
from meshid.http.asgi import App
from meshid.support.callables import takes
from meshid.support.did_you_mean import Suggestions
from meshid.support.quoting import quote

_NAME = re.compile(r"(?P<module>\w+(\.\w+)*):(?P<attribute>\w+(\.\w+)*)")


def load_application(name: str) -> App:
    """Import an ASGI application; modules of the working directory come first.

    Args:
        name: A module and a name in it, such as ``main:app``.

    Raises:
        NoAnswer: If there is none. What the module raises while it is imported is printed before.
    """
    found = _NAME.fullmatch(name)
    if found is None or found["module"].endswith(".py"):
        msg = f"{quote(name)} is not MODULE:NAME: write main:app for `app` in main.py, without a path"
        raise NoAnswer(msg)
    sys.path.insert(0, str(Path.cwd()))
    module = _imported(found["module"])
    try:
        application = operator.attrgetter(found["attribute"])(module)
    except AttributeError as error:
        near = _did_you_mean(found["attribute"], vars(module))
        msg = f"the module {quote(found['module'])} has no {quote(found['attribute'])}{near}"
        raise NoAnswer(msg) from error
    if wrong := _why_not(application):
        msg = f"{quote(name)} {wrong}"
        raise NoAnswer(msg)
    return cast("App", application)


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        # A package that the module wants, and that is not there, is a matter of the module.
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            near = _did_you_mean(name, (each.name for each in pkgutil.iter_modules([str(Path.cwd())])))
            msg = f"there is no module {quote(name)} in {quote(str(Path.cwd()))}, and none is installed{near}"
            raise NoAnswer(msg) from error
        traceback.print_exception(error.with_traceback(_their_part(error.__traceback__)))
        msg = f"the module {quote(name)} cannot be imported: see the traceback above"
        raise NoAnswer(msg) from error


def _their_part(frames: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of ours and of the import system, with which it begins."""
    ours = (__file__, importlib.__file__)
    while frames is not None:
        file = frames.tb_frame.f_code.co_filename
        if file not in ours and not file.startswith("<frozen importlib"):
            break
        frames = frames.tb_next
    return frames


def _did_you_mean(word: str, known: object) -> str:
    near = Suggestions().to(word, cast("list[str]", known))
    return f"; did you mean {quote(near)}?" if near else ""


def _why_not(application: object) -> str:
    """Return why something is no ASGI application that can be put into the middleware; nothing if it is."""
    if isinstance(application, ASGIMiddleware):
        return "is in an ASGIMiddleware already: name the application inside, as `meshid serve` adds its own"
    if not callable(application):
        return f"is no application, but of the type {type(application).__name__}"
    if takes(application, 3):
        return ""
    if takes(application, 2):
        return (
            "takes two arguments, as a WSGI application does, and this is for ASGI:"
            " see docs/wsgi.md for gunicorn and the WSGIMiddleware"
        )
    if inspect.isroutine(application) and takes(application, 0):
        return (
            "takes no arguments: if it makes the application, call it in the module and name what it returns"
        )
    return "is no ASGI application, which takes three arguments: scope, receive and send"
