"""The blocks in which nginx looks for a directive: http, server, location and what is inside."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from functools import cached_property

from meshid.cli.nginx.nginx_configuration import Directive

_LOCATIONS = ("location", "if", "limit_except")

PASSING = {
    "proxy_pass": ("proxy_set_header", "X-Meshid-Peer"),
    "grpc_pass": ("grpc_set_header", "X-Meshid-Peer"),
    "fastcgi_pass": ("fastcgi_param", "HTTP_X_MESHID_PEER"),
    "scgi_pass": ("scgi_param", "HTTP_X_MESHID_PEER"),
    "uwsgi_pass": ("uwsgi_param", "HTTP_X_MESHID_PEER"),
}
"""The directives that pass a request on: with which one headers are set there, and the name of the peer's."""


class Level:
    """A block, with those around it.

    Args:
        head: The directive whose block it is.
        parent: The block around it; None for http.

    Attributes:
        head: The directive whose block it is.
        parent: The block around it; None for http.
    """

    def __init__(self, head: Directive, parent: Level | None) -> None:
        self.head = head
        self.parent = parent

    def own(self, *names: str) -> list[Directive]:
        """Return the directives of these names in this block itself."""
        return [each for name in names for each in self._by_name.get(name, ())]

    @cached_property
    def _by_name(self) -> dict[str, list[Directive]]:
        found: dict[str, list[Directive]] = {}
        for each in self.head.block or ():
            found.setdefault(each.name, []).append(each)
        return found

    def effective(self, *names: str) -> list[Directive]:
        """Return the directives in force here: for each name, those of the nearest block that has any."""
        return [each for name in names for each in self._nearest(name)]

    def _nearest(self, name: str) -> list[Directive]:
        found = self.own(name)
        return found if found or self.parent is None else self.parent.effective(name)

    def value(self, name: str, default: str = "") -> str:
        """Return the first argument of a directive that is in force here."""
        found = self.effective(name)
        return found[0].arguments[0] if found and found[0].arguments else default

    def sets(self, setting: str, header: str) -> str | None:
        """Return what a header is set to here; None if it stays as the client wrote it."""
        for each in self.effective(setting):
            if each.arguments and each.arguments[0].lower() == header.lower():
                return each.arguments[1] if len(each.arguments) > 1 else ""
        return None

    def peer_variables(self) -> set[str]:
        """Return the variables that hold the peer as meshid named it."""
        told = {
            each.arguments[0]
            for each in self.effective("auth_request_set")
            if each.arguments[1:] == ("$upstream_http_x_meshid_peer",)
        }
        return told | {"$proxy_protocol_tlv_0xE0", "$proxy_protocol_tlv_0xe0"}

    @property
    def is_gate(self) -> bool:
        """Whether the mesh port, which writes a PROXY header, decides who gets here."""
        return any("proxy_protocol" in each.arguments for each in self.own("listen"))

    @property
    def is_judged(self) -> bool:
        """Whether meshid is asked about what is served here."""
        return self.value("auth_request", "off") != "off"

    @cached_property
    def asks(self) -> bool:
        """Whether meshid is asked about anything here."""
        return any(level.is_judged for level in self.below())

    def below(self) -> Iterator[Level]:
        """Yield this block, and the locations in it."""
        yield self
        for each in self.own(*_LOCATIONS):
            yield from Level(each, self).below()

    def is_in(self, blocks: AbstractSet[int]) -> bool:
        """Return whether this is one of the blocks with these heads, given by `id`, or inside one."""
        return id(self.head) in blocks or (self.parent is not None and self.parent.is_in(blocks))

    def questions(self) -> list[Level]:
        """Return the locations in which meshid is asked."""
        levels = list(self.below())
        places = {level.value("auth_request") for level in levels} - {"", "off"}
        return [
            each for each in levels if each.head.name == "location" and places & set(each.head.arguments[-1:])
        ]

    def listens(self) -> set[str]:
        """Return where a server listens."""
        return {each.arguments[0] for each in self.own("listen") if each.arguments} or {"80"}


def servers_of(directives: tuple[Directive, ...]) -> list[Level]:
    """Return the servers: those in http, or, in a file that http includes, those outside of all blocks."""
    https = [each for each in directives if each.name == "http"] or [Directive("http", (), "", directives)]
    levels = [Level(http, None) for http in https]
    return [Level(server, level) for level in levels for server in level.own("server")]
