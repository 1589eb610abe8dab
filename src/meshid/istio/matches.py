"""Istio's matches of peers, as patterns.

Istio has four: exact, ``prefix*``, ``*suffix`` and ``*`` for anything. Its ``*`` runs
across "/" and ours does not, so each form becomes patterns that match exactly the same
SPIFFE IDs, or is refused. What Istio's sidecars and its ztunnel read differently
has two readings: the ztunnel's is the narrow one, and the sidecars' is the wide one.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from meshid.errors import InvalidInput
from meshid.support.quoting import quote

MESH = "cluster.local"
"""Istio's name for the mesh's own trust domain, whatever it is called; in a principal of five parts only."""

_PARTS = 5
"""Of a principal whose trust domain Istio replaces by each of the mesh's own: td/ns/NAMESPACE/sa/ACCOUNT."""


def trust_domain_of(text: str, own: Sequence[str]) -> str | None:
    """Return the trust domain of others that a principal names; None if it names none."""
    domain, slash, _ = text.partition("/")
    if not slash or "*" in domain or domain in own or _means_ours(text, domain, own):
        return None
    return domain


def is_mistaken_for_ours(text: str, own: Sequence[str]) -> bool:
    """Tell whether a principal names `MESH`, and Istio does not take it for this mesh."""
    return trust_domain_of(text, own) == MESH


def is_nobody(text: str) -> bool:
    """Tell whether a principal matches no SPIFFE ID: it has a literal ``*``, no trust domain, or no path."""
    if text.startswith("*"):
        return False
    domain, _, path = text.removesuffix("*").partition("/")
    return "*" in domain + path or not domain or not (path or text.endswith("*"))


@attrs.frozen
class Sources:
    """What the sources of one policy mean, to one kind of proxy.

    Attributes:
        own: The mesh's trust domains.
        federated: The other trust domains that are known.
        namespace: The namespace of the policy.
        is_wide: Whether as sidecars read them, and not as the ztunnel does.
    """

    own: Sequence[str]
    federated: Sequence[str]
    namespace: str
    is_wide: bool = attrs.field(kw_only=True)

    @property
    def domains(self) -> int:
        """The most patterns that one text becomes."""
        return 2 + len(self.own) + 2 * len(self.federated)

    def of_principal(self, text: str) -> list[str]:
        """Return the patterns of peers that a principal means.

        Raises:
            InvalidInput: If it has no exact equivalent.
        """
        if text == "*":
            return self._everywhere("/**")
        if text.startswith("*"):
            return self._with_suffix(text, text[1:])
        if is_nobody(text):
            return []
        domain, slash, path = text.removesuffix("*").partition("/")
        if not slash:
            known = (*self.own, *self.federated)
            return [f"spiffe://{each}/**" for each in known if each.startswith(domain)]
        pattern = "/" + path if not text.endswith("*") else f"/{path}*/**"
        return [pattern if _means_ours(text, domain, self.own) else f"spiffe://{domain}{pattern}"]

    def of_namespace(self, text: str) -> list[str]:
        """Return the patterns of peers in the namespaces that *text* means, in any trust domain.

        Raises:
            InvalidInput: If it has no exact equivalent.
        """
        _refuse_star(text, text.removeprefix("*") if text.startswith("*") else text.removesuffix("*"))
        if not text or "/" in text:
            msg = f"{quote(text)} is not a namespace"
            raise InvalidInput(msg)
        if not self.is_wide:
            return self._everywhere(f"/ns/{text}/sa/*")
        self._refuse_dot(text)
        # A sidecar looks for "/ns/NAMESPACE/" anywhere, and its `*` runs across "/".
        any_number = "**/" if text.startswith("*") and text != "*" else ""
        return self._everywhere(f"/**/ns/{any_number}{text}/*/**")

    def of_account(self, text: str) -> list[str]:
        """Return the patterns of peers of a service account: ``namespace/name``, or a name in our namespace.

        Raises:
            InvalidInput: If *text* is neither.
        """
        where, slash, name = text.rpartition("/")
        if not name or "*" in text or "/" in where or (slash and not where):
            msg = f"{quote(text)} must be NAMESPACE/NAME or NAME, without wildcards"
            raise InvalidInput(msg)
        where = where or self.namespace
        if not self.is_wide:
            return self._everywhere(f"/ns/{where}/sa/{name}")
        self._refuse_dot(text)
        # A sidecar takes more segments before, between and after these.
        return self._everywhere(f"/**/ns/{where}/**/sa/{name}/**")

    def _with_suffix(self, text: str, suffix: str) -> list[str]:
        _refuse_star(text, suffix)
        self._refuse_dot(text)
        if suffix.startswith("/"):
            return self._everywhere(f"/**{suffix}")
        patterns = self._everywhere(f"/**/*{suffix}")
        # The suffix may begin inside the name of the trust domain.
        end, slash, path = suffix.partition("/")
        if not slash:
            return patterns
        own = [domain for domain in self.own if domain.endswith(end)]
        if own and _has_five_parts(text):
            # Istio then means all of the mesh's trust domains.
            own = list(self.own)
        return patterns + [
            f"spiffe://{domain}/{path}"
            for domain in (*own, *(each for each in self.federated if each.endswith(end)))
        ]

    def _everywhere(self, path: str) -> list[str]:
        return [path, *(f"spiffe://{domain}{path}" for domain in self.federated)]

    def _refuse_dot(self, text: str) -> None:
        if self.is_wide and "." in text:
            msg = (
                f"{quote(text)} has a '.', which Istio's sidecars read as any character;"
                " write the principals out"
            )
            raise InvalidInput(msg)


def _means_ours(text: str, domain: str, own: Sequence[str]) -> bool:
    return _has_five_parts(text) and domain in {MESH, *own}


def _has_five_parts(text: str) -> bool:
    return text.count("/") == _PARTS - 1


def _refuse_star(text: str, rest: str) -> None:
    if "*" in rest:
        msg = f"{quote(text)} has a '*' in the middle, which Istio's proxies read differently"
        raise InvalidInput(msg)
