"""Where values come from: arguments, variables, a directory, a file. The first that has one decides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import attrs

from meshid.errors import InvalidInput, Problem
from meshid.settings.keys import BY_NAME, BY_VARIABLE, CONFIG, CONFIG_DIR, FILE, PREFIX, Key
from meshid.sources import SourceUnavailable
from meshid.sources.files.reading import read_together
from meshid.sources.workload.workload_api import ADDRESS_VARIABLE
from meshid.support.did_you_mean import Suggestions
from meshid.support.documents import toml_document
from meshid.support.quoting import quote

_VARIABLES = (*BY_VARIABLE, CONFIG, CONFIG_DIR)

_SERVICE_LINK = re.compile(
    r"_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?", re.ASCII
)
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://", re.ASCII)


@attrs.frozen
class Found:
    """A value, as it was found.

    Attributes:
        value: A text; from TOML and as an argument, of whatever type it is there.
        origin: Where it was found, for people.
        is_text: Whether it could not be but a text.
        base: Where relative paths begin.
    """

    value: object
    origin: str
    is_text: bool = True
    base: Path = Path()


def find_all(
    environ: Mapping[str, str], arguments: Mapping[str, object], problems: list[Problem]
) -> dict[str, Found]:
    """Return the value in force of each key that has one, and add whatever is wrong to *problems*."""
    variables = {name: value for name, value in environ.items() if name.startswith(PREFIX) and value}
    directory, file = variables.pop(CONFIG_DIR, None), variables.pop(CONFIG, None)
    layers = (
        {name: Found(value, "argument", is_text=False) for name, value in arguments.items()},
        _of_variables(variables, problems),
        {} if directory is None else _of_directory(Path(directory), problems),
        {} if file is None else _of_file(Path(file), problems),
        {key.name: Found(key.default, "default") for key in BY_NAME.values() if key.default is not None},
    )
    found = {name: each for layer in reversed(layers) for name, each in layer.items()}
    if (address := environ.get(ADDRESS_VARIABLE)) and "credentials" not in found:
        found.setdefault("workload_api", Found(address, f"variable {ADDRESS_VARIABLE}"))
    return found


def _of_variables(variables: dict[str, str], problems: list[Problem]) -> dict[str, Found]:
    found: dict[str, Found] = {}
    near = Suggestions()
    links = sorted(name for name, value in variables.items() if _is_service_link(name, value))
    problems.extend(_about_links(links))
    for name in sorted(variables.keys() - links):
        key = BY_VARIABLE.get(name)
        twin = BY_VARIABLE.get(name.removesuffix(FILE))
        if key is not None:
            found[key.name] = Found(variables[name], f"variable {name}")
        elif twin is None or not name.endswith(FILE):
            problems.append(Problem(name, _unknown(name, _VARIABLES, near)))
        elif twin.variable in variables:
            problems.append(Problem(name, f"is set, and so is {twin.variable}; set one of them"))
        else:
            _read_into(
                found, twin, Path(variables[name]), f"{quote(variables[name])} (variable {name})", problems
            )
    return found


def _is_service_link(name: str, value: str) -> bool:
    """Tell whether Kubernetes has set a variable for a Service whose name begins with ``meshid``."""
    return bool(_SERVICE_URL.match(value)) or (bool(_SERVICE_LINK.search(name)) and name not in BY_VARIABLE)


def _about_links(links: list[str]) -> Iterator[Problem]:
    if links:
        yield Problem(
            ", ".join(links[:3]) + (f" and {len(links) - 3} more" if len(links) > 3 else ""),  # noqa: PLR2004
            "come from Kubernetes, for a Service whose name begins with 'meshid':"
            " set enableServiceLinks: false in the pod, or rename the Service",
        )


def _of_directory(path: Path, problems: list[Problem]) -> dict[str, Found]:
    """Read a file for each key, as Kubernetes mounts a ConfigMap; what has a dot in its name is none."""
    found: dict[str, Found] = {}
    near = Suggestions()
    try:
        names = sorted(each.name for each in path.iterdir() if "." not in each.name)
    except OSError as error:
        problems.append(Problem(CONFIG_DIR, f"{quote(str(path))} cannot be read: {error.strerror}"))
        return found
    for name in names:
        if (key := BY_NAME.get(name)) is None:
            problems.append(Problem(quote(str(path / name)), _unknown(name, BY_NAME, near)))
        else:
            _read_into(
                found, key, path / name, f"{quote(str(path / name))} ({CONFIG_DIR})", problems, base=path
            )
    return found


def _read_into(  # noqa: PLR0913, PLR0917  # all of a value
    found: dict[str, Found], key: Key, path: Path, origin: str, problems: list[Problem], base: Path = Path()
) -> None:
    try:
        text = read_together([path])[0].decode().removesuffix("\n")
    except OSError as error:
        problems.append(Problem(origin, f"cannot be read: {error.strerror}"))
    except SourceUnavailable as error:
        problems.append(Problem(origin, str(error)))
    except UnicodeDecodeError:
        problems.append(Problem(origin, "is not UTF-8"))
    else:
        found[key.name] = Found(text, origin, base=base)


def _of_file(path: Path, problems: list[Problem]) -> dict[str, Found]:
    where = f"{quote(str(path))} ({CONFIG})"
    try:
        document = toml_document(path.read_bytes())
    except OSError as error:
        problems.append(Problem(where, f"cannot be read: {error.strerror}"))
        return {}
    except InvalidInput as error:
        problems.append(Problem(where, str(error)))
        return {}
    near = Suggestions()
    table: dict[str, object] = document if isinstance(document, dict) else {}
    problems.extend(
        Problem(f"{where} {quote(name)}", _unknown(name, BY_NAME, near))
        for name in table
        if name not in BY_NAME
    )
    return {
        name: Found(value, where, is_text=False, base=path.parent)
        for name, value in table.items()
        if name in BY_NAME
    }


def _unknown(name: str, known: Iterable[str], near: Suggestions) -> str:
    # Without what all of them begin with: it would make any two of them alike.
    parts = {each.removeprefix(PREFIX): each for each in known}
    meant = near.to(name.removeprefix(PREFIX), parts)
    return (
        f"is unknown; did you mean {parts[meant]!r}?"
        if meant
        else f"is unknown; there are: {', '.join(known)}"
    )
