"""Istio's `AuthorizationPolicy` to a policy file: exactly, or refused with the field that has no equivalent.

The rules of this module:

- Where Istio's proxies differ from each other, an ALLOW means what all of them let in, and a DENY
  what any of them refuses.
- A target is ``namespace/app``, or with a port ``namespace/app/port``: see `meshid.istio.targets`.
- ``cluster.local`` and the environment's trust domains are its own, in a principal of five parts;
  every other trust domain that a principal names is one that it federates with.
- AUDIT, and a dry run, only record, so they become rules that observe.
- An unknown field is refused, not skipped: it would have narrowed the rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import attrs

from meshid.errors import InvalidSpiffeId
from meshid.istio.fields import FieldReader
from meshid.istio.matches import trust_domain_of
from meshid.istio.policies import IstioPolicy, PolicyReader
from meshid.istio.problems import Problems
from meshid.istio.rule_reader import RuleReader
from meshid.istio.targets import ROOT_NAMESPACE, TargetReader, mappings
from meshid.istio.writing import policy_file
from meshid.policy.file.loading import read_toml
from meshid.policy.file.strings import trust_domain

_PRINCIPALS = ("principals", "notPrincipals")
_VALUES = ("values", "notValues")

_ROOT = f"is for all namespaces, if meshConfig has no other rootNamespace than {ROOT_NAMESPACE}"
_LEFT_OUT = "is left out, so everything that its extension provider would refuse is not refused"

NOTE = "Istio lets everybody reach a workload that no ALLOW policy selects; here, nobody may"


@attrs.frozen
class Imported:
    """The result of an import.

    Attributes:
        toml: The text of the policy file, in TOML.
        notes: What to know before using it, one sentence each.
    """

    toml: str
    notes: tuple[str, ...]


def import_istio(  # noqa: PLR0913 - each but the first two is a keyword of its own
    sources: Iterable[tuple[str, bytes]],
    *,
    environment: str,
    trust_domains: Sequence[str],
    namespace: str | None = None,
    stricter: bool = False,
    without_custom: bool = False,
) -> Imported:
    """Import every `AuthorizationPolicy` in YAML files, alone or in a ``List``, as `kubectl` prints it.

    Args:
        sources: The name and the content of each file; names are only for messages.
        environment: The name of the environment that the policy file is for.
        trust_domains: The trust domains of that environment, the mesh's own first.
        namespace: The namespace of policies that name none.
        stricter: Whether what has no equivalent is left out of an ALLOW, and a DENY denies without it;
            the notes name each.
        without_custom: Whether policies with the action CUSTOM are left out, although others than Istio's
            proxies may refuse by them; the notes name each.

    Returns:
        The policy file, and notes about it.

    Raises:
        InvalidIstioPolicy: With every object that is not imported, every field that has no exact
            equivalent, and every error.
        InvalidPolicy: If the result cannot be loaded, for example because it is too large.
        MissingExtra: Without the extra ``yaml``.
    """
    problems = Problems()
    own = [str(problems.attempt("--trust-domain", trust_domain, each)) for each in trust_domains]
    files = PolicyReader(problems, namespace)
    found = files.policies(sources)
    custom = [f"{each.where}: {_LEFT_OUT}" for each in found if without_custom and _is_custom(each)]
    policies = [each for each in found if not (without_custom and _is_custom(each))]
    federated = _federated(policies, own)
    fields = FieldReader(problems, stricter=stricter)
    targets = TargetReader(problems, policies)
    reader = RuleReader(fields, targets, own, federated)
    rules = [rule for policy in policies for rule in reader.rules(policy)]
    problems.check()
    text = policy_file(environment, own, federated, rules)
    read_toml(text, environment)
    root = [f"{each.where}: {_ROOT}" for each in policies if each.namespace == ROOT_NAMESPACE]
    return Imported(text, (*files.notes, *custom, *fields.notes, *root, *targets.notes, NOTE))


def _federated(policies: Iterable[IstioPolicy], own: Sequence[str]) -> list[str]:
    """Return the trust domains of others that principals name; ``*`` means the peers of these, too."""
    named = (trust_domain_of(text, own) for policy in policies for text in _principals(policy))
    return [each for each in dict.fromkeys(named) if each is not None and _is_trust_domain(each)]


def _is_trust_domain(text: str) -> bool:
    try:
        trust_domain(text)
    except InvalidSpiffeId:
        return False
    return True


def _is_custom(policy: IstioPolicy) -> bool:
    return bool(policy.spec.get("action") == "CUSTOM")


def _principals(policy: IstioPolicy) -> Iterator[str]:
    """Find the principals, even in a document that is otherwise wrong."""
    for each in mappings(policy.spec):
        names = (*_PRINCIPALS, *(_VALUES if each.get("key") == "source.principal" else ()))
        lists = (each.get(name) for name in names)
        yield from (
            text for texts in lists if isinstance(texts, list) for text in texts if isinstance(text, str)
        )
