"""Where values come from: arguments, variables, a directory, a file. The first that has one decides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from meshid.errors import InvalidInput, Problem, SourceUnavailable
from meshid.settings import parsing
from meshid.settings.keys import CONFIG, CONFIG_DIR, FILE, PREFIX, Found, Key
from meshid.sources.files.consistent_read import read_together
from meshid.sources.workload.workload_api import ADDRESS_VARIABLE
from meshid.support.did_you_mean import Suggestions
from meshid.support.documents import toml_document
from meshid.support.quoting import quote, some_of

_SERVICE_LINK = re.compile(
    r"_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?", re.ASCII
)
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://", re.ASCII)


class Lookup:
    """Finds the value in force of each key.

    Args:
        keys: The keys.
        problems: Everything that is wrong is added here.
    """

    def __init__(self, keys: Iterable[Key], problems: list[Problem]) -> None:
        self._keys = {key.name: key for key in keys}
        self._by_variable = {key.variable: key for key in self._keys.values()}
        self._problems = problems

    def find_all(self, environ: Mapping[str, str], arguments: Mapping[str, object]) -> dict[str, Found]:
        """Return the value in force of each key that has one."""
        variables = {name: value for name, value in environ.items() if name.startswith(PREFIX) and value}
        directory, file = variables.pop(CONFIG_DIR, None), variables.pop(CONFIG, None)
        defaults = {name: key.default for name, key in self._keys.items() if key.default not in {None, ()}}
        layers = (
            {name: Found(value, "argument", is_text=False) for name, value in arguments.items()},
            self._in_variables(variables),
            {} if directory is None else self._in_directory(directory),
            {} if file is None else self._in_file(file),
            {name: Found(value, "default", is_text=False) for name, value in defaults.items()},
        )
        found = {name: each for layer in reversed(layers) for name, each in layer.items()}
        if (address := environ.get(ADDRESS_VARIABLE)) and "credentials" not in found:
            found.setdefault("workload_api", Found(address, f"variable {ADDRESS_VARIABLE}"))
        return found

    def _in_variables(self, variables: Mapping[str, str]) -> dict[str, Found]:
        found: dict[str, Found] = {}
        links = [name for name, value in sorted(variables.items()) if self._is_service_link(name, value)]
        if links:
            come = "comes" if len(links) == 1 else "come"
            self._report(
                some_of(links, 3),
                f"{come} from Kubernetes, for a Service whose name begins with 'meshid':"
                " set enableServiceLinks: false in the pod, or rename the Service",
            )
        near = Suggestions()
        for name in sorted(variables.keys() - links):
            key = self._by_variable.get(name)
            twin = self._by_variable.get(name.removesuffix(FILE))
            if key is not None:
                found[key.name] = Found(variables[name], f"variable {name}")
            elif twin is None or not name.endswith(FILE):
                self._report(name, _unknown(name, (*self._by_variable, CONFIG, CONFIG_DIR), near))
            elif twin.variable in variables:
                self._report(name, f"is set, and so is {twin.variable}; set one of them")
            else:
                path = self._path(name, variables[name])
                origin = f"{quote(str(path))} (variable {name})"
                if path is not None and (text := self._read(path, origin)) is not None:
                    found[twin.name] = Found(text, origin, twin=name)
        return found

    def _is_service_link(self, name: str, value: str) -> bool:
        """Tell whether Kubernetes has set a variable for a Service whose name begins with ``meshid``."""
        # `MESHID_PORT` is ours, too; the address of a Workload API has the form of such a URL.
        is_url = name.endswith("_PORT") and bool(_SERVICE_URL.match(value))
        return is_url or (bool(_SERVICE_LINK.search(name)) and name not in self._by_variable)

    def _path(self, name: str, value: str) -> Path | None:
        """Return the path in a variable; None if it cannot be one."""
        try:
            return parsing.path(Found(value, name))
        except InvalidInput as error:
            self._report(name, str(error))
            return None

    def _in_directory(self, value: str) -> dict[str, Found]:
        """Read a file for each key, as Kubernetes mounts a ConfigMap; names with a dot are skipped."""
        found: dict[str, Found] = {}
        near = Suggestions()
        if (path := self._path(CONFIG_DIR, value)) is None:
            return found
        try:
            names = sorted(each.name for each in path.iterdir() if "." not in each.name)
        except OSError as error:
            self._report(CONFIG_DIR, f"{quote(str(path))} cannot be read: {error.strerror}")
            return found
        for name in names:
            where = quote(str(path / name))
            if name not in self._keys:
                self._report(where, _unknown(name, self._keys, near))
            elif (text := self._read(path / name, f"{where} ({CONFIG_DIR})")) is not None:
                found[name] = Found(text, f"{where} ({CONFIG_DIR})", base=path)
        return found

    def _in_file(self, value: str) -> dict[str, Found]:
        if (path := self._path(CONFIG, value)) is None:
            return {}
        where = f"{quote(str(path))} ({CONFIG})"
        try:
            document = toml_document(read_together([path])[0])
        except OSError as error:
            self._report(where, f"cannot be read: {error.strerror}")
            return {}
        except (InvalidInput, SourceUnavailable) as error:
            self._report(where, str(error))
            return {}
        found: dict[str, Found] = {}
        near = Suggestions()
        table: dict[str, object] = document if isinstance(document, dict) else {}
        for name, each in table.items():
            if name in self._keys:
                found[name] = Found(each, where, is_text=False, base=path.parent)
            else:
                self._report(f"{where} {quote(name)}", _unknown(name, self._keys, near))
        return found

    def _read(self, path: Path, where: str) -> str | None:
        try:
            return read_together([path])[0].decode().removesuffix("\n")
        except OSError as error:
            self._report(where, f"cannot be read: {error.strerror}")
        except SourceUnavailable as error:
            self._report(where, str(error))
        except UnicodeDecodeError:
            self._report(where, "is not UTF-8")
        return None

    def _report(self, where: str, what: str) -> None:
        self._problems.append(Problem(where, what))


def _unknown(name: str, known: Iterable[str], near: Suggestions) -> str:
    # Without the prefix that all of them have: it would make any two of them similar.
    parts = {each.removeprefix(PREFIX): each for each in known}
    meant = near.to(name.removeprefix(PREFIX), parts)
    return (
        f"is unknown; did you mean {parts[meant]!r}?"
        if meant
        else f"is unknown; write one of: {', '.join(known)}"
    )
