"""Chains that OpenSSL would judge in another way than the verifier, if it were asked.

It would look for an issuer by its name and its key identifier and take the first that fits, hold
authorities to purposes of its own, and read things into a leaf that the verifier does not look for.
"""

from __future__ import annotations

from functools import partial
from itertools import product

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ObjectIdentifier

from meshid.certificates.reading import to_der
from meshid.reasons import Reason
from meshid.testing import CA, Issued
from tests.helpers.chain_case import Case, Maker, rows
from tests.helpers.forged import VISIBLE_STRING, Field, children, edited, explicit_curve, name
from tests.helpers.world import (
    ANY_PURPOSE,
    DEV,
    FAR_TWIN,
    PATH,
    PROD,
    RENEWALS,
    TEXT_KEY_ID,
    TWINS,
    World,
    called,
    for_any_purpose,
    key_id,
    renewal,
    renewed,
    sending,
)

NETSCAPE_TYPE, PROXY = ObjectIdentifier("2.16.840.1.113730.1.1"), ObjectIdentifier("1.3.6.1.5.5.7.1.14")
ADDRESSES, SYSTEMS = ObjectIdentifier("1.3.6.1.5.5.7.1.7"), ObjectIdentifier("1.3.6.1.5.5.7.1.8")


# -- Makers -------------------------------------------------------------------


def written(kind: ObjectIdentifier, content: str) -> tuple[x509.ExtensionType, bool]:
    """Return an extension with a *content* in hex."""
    return x509.UnrecognizedExtension(kind, bytes.fromhex(content)), False


def typed(content: str) -> Maker:
    """Return a maker of a leaf with a Netscape certificate type."""
    return lambda world: world.prod.issue(PATH, extra=[written(NETSCAPE_TYPE, content)])


def with_critical(value: x509.ExtensionType) -> Maker:
    return lambda world: world.prod.issue(PATH, extra=[(value, True)])


def below(authority: CA, issuer: x509.Name, serial: int, *also_sent: CA) -> Issued:
    """Return a leaf that names the certificate of its issuer by this *issuer* and *serial* number."""
    named = x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(issuer)], serial)
    return sending(authority.issue(PATH, authority_key_id=False, extra=[(named, False)]), *also_sent)


def below_a_new_certificate(world: World, *, sent: str) -> Issued:
    """Return a leaf that names the old certificate of its issuer, which has got a new one for its key."""
    old = world.prod.intermediate()
    new = world.prod.intermediate(subject=called(old), key=old.key)
    by_old = old.certificate
    leaf = below(old, by_old.issuer, by_old.serial_number)
    order = {"new only": [new], "old first": [old, new], "new first": [new, old]}[sent]
    return Issued(leaf.certificate, leaf.key, tuple(each.certificate for each in order))


def constrained(world: World) -> Issued:
    """Return a leaf whose common name looks like a host, below an authority for other hosts."""
    constraint = x509.NameConstraints([x509.DNSName("prod.example.org")], None)
    return world.prod.intermediate(extra=[(constraint, True)]).issue(PATH, subject="CN=api.example.com")


def with_curve_written_out(world: World) -> Issued:
    leaf = world.prod.issue(PATH)
    key = children(children(to_der(explicit_curve(leaf)))[0])[Field.KEY]
    return remade(leaf, edited(leaf.certificate, world.prod, {Field.KEY: key}))


def with_visible_subject(world: World) -> tuple[bytes, ...]:
    leaf = world.prod.issue(PATH)
    return (edited(leaf.certificate, world.prod, {Field.SUBJECT: name(VISIBLE_STRING, b"api")}),)


def remade(leaf: Issued, certificate: bytes) -> Issued:
    return Issued(x509.load_der_x509_certificate(certificate), leaf.key, leaf.intermediates)


def named_like_its_issuer(world: World, *, with_key_id: bool) -> Issued:
    extra = [key_id(b"the leaf's")] if with_key_id else []
    return world.prod.issue(PATH, subject=called(world.prod), extra=extra)


# -- An issuer that is not the only one of its name --------------------------------


def sent_renewal(world: World, *, issuer: int, order: str, lapsed: bool) -> Issued:
    """Return a leaf of an intermediate (0), or of its successor (1), which come together."""
    both = renewal(world.prod, world.past if lapsed else None)
    leaf = both[issuer].issue(PATH, authority_key_id=False)
    sent = both if order == "old first" else both[::-1]
    return Issued(leaf.certificate, leaf.key, tuple(each.certificate for each in sent))


def anchored_renewal(world: World, *, issuer: int, domain: str) -> Issued:
    leaf = world.renewals[domain][issuer].issue(PATH, authority_key_id=False)
    return Issued(leaf.certificate, leaf.key, ())


def _renewals() -> list[Case]:
    found = []
    for issuer, (domain, (order, lapsed)) in product((0, 1), RENEWALS.items()):
        what = f"{('an old', 'a new')[issuer]} intermediate, {order}{', the old one expired' * lapsed}"
        reason = Reason.AUTHORITY_NOT_IN_DATE if lapsed and not issuer else Reason.ALLOWED

        sent = partial(sent_renewal, issuer=issuer, order=order, lapsed=lapsed)
        anchored = partial(anchored_renewal, issuer=issuer, domain=domain)
        found += [
            Case(f"below {what}, sent", sent, reason, PROD),
            Case(f"below {what}, anchored", anchored, reason, f"spiffe://{domain}{PATH}"),
        ]
    return found


_LIKE_NAMED = [
    *rows(
        Reason.ALLOWED,
        f"spiffe://{TWINS}{PATH}",
        {
            "the first of two anchors of one name": lambda w: w.twins[0].issue(PATH, authority_key_id=False),
            "the second of two anchors of one name": lambda w: w.twins[1].issue(PATH, authority_key_id=False),
            "below the second of two anchors of one name": lambda w: (
                w.twins[1].intermediate(authority_key_id=False).issue(PATH, authority_key_id=False)
            ),
        },
    ),
    Case(
        "an anchor with the name of those of another bundle",
        lambda w: w.far_twin.issue(PATH, authority_key_id=False),
        Reason.ALLOWED,
        f"spiffe://{FAR_TWIN}{PATH}",
    ),
    Case(
        "a federated authority that took our name",
        lambda w: w.namesake.issue(PATH, authority_key_id=False),
        Reason.ALLOWED,
        DEV,
    ),
    Case(
        "an anchor mints the name of one with its own name",
        lambda w: w.far_twin.issue(f"spiffe://{TWINS}{PATH}", authority_key_id=False),
        Reason.FOREIGN_AUTHORITY,
        f"spiffe://{TWINS}{PATH}",
    ),
    *rows(
        Reason.ALLOWED,
        PROD,
        {
            "below a new key of the root": lambda w: renewed(w.prod).issue(PATH),
            "below a new key of an intermediate": lambda w: renewed(w.issuing).issue(PATH),
            "below a new key of a new key": lambda w: renewed(renewed(w.issuing)).issue(PATH),
        },
    ),
    *_renewals(),
]


# -- Key identifiers and serial numbers ---------------------------------------


_IDENTIFIED = [
    Case(
        "an anchor whose key has a text for an identifier, and its leaf a digest",
        lambda w: w.text_key_id.issue(PATH),
        Reason.ALLOWED,
        f"spiffe://{TEXT_KEY_ID}{PATH}",
    ),
    Case(
        "an anchor whose key has a text for an identifier, and its leaf nothing",
        lambda w: w.text_key_id.issue(PATH, authority_key_id=False),
        Reason.ALLOWED,
        f"spiffe://{TEXT_KEY_ID}{PATH}",
    ),
    *rows(
        Reason.ALLOWED,
        PROD,
        {
            "an intermediate whose key has a text for an identifier": lambda w: w.prod.intermediate(
                extra=[key_id(b"issuing")]
            ).issue(PATH),
            "an intermediate whose key has an empty identifier": lambda w: w.prod.intermediate(
                extra=[key_id(b"")]
            ).issue(PATH),
            "the certificate of its issuer named by number": lambda w: below(
                w.prod, w.prod.certificate.issuer, w.prod.certificate.serial_number
            ),
            "its issuer's old certificate named by number, sent first": lambda w: below_a_new_certificate(
                w, sent="old first"
            ),
            "its issuer's old certificate named by number, sent last": lambda w: below_a_new_certificate(
                w, sent="new first"
            ),
            "the name of its issuer, and a key identifier": lambda w: named_like_its_issuer(
                w, with_key_id=True
            ),
        },
    ),
    *rows(
        Reason.INVALID_PATH,
        PROD,
        {
            "another certificate of its issuer named by number": lambda w: below(
                w.prod, w.prod.certificate.issuer, 7
            ),
            "another certificate of its issuer named by its issuer": lambda w: below(
                w.prod, w.dev.certificate.issuer, w.prod.certificate.serial_number
            ),
            "its issuer's old certificate named by number, not sent": lambda w: below_a_new_certificate(
                w, sent="new only"
            ),
            "the name of its issuer": lambda w: named_like_its_issuer(w, with_key_id=False),
        },
    ),
]


# -- Purposes, extensions, names and keys ----------------------------------------

_SSL_CLIENT, _SSL_SERVER, _BOTH, _MAIL, _NOTHING, _NO_BITS = (
    "03020780",
    "03020640",
    "030206c0",
    "03020520",
    "030100",
    "040206c0",
)
"""Netscape certificate types."""

_PROXIES = written(PROXY, "300c300a06082b06010505071501")
_ACCESS = x509.AccessDescription(
    AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier("http://ocsp.example.org")
)

_ODD = [
    Case(
        "an anchor for any purpose",
        lambda w: w.any_purpose.issue(PATH),
        Reason.ALLOWED,
        f"spiffe://{ANY_PURPOSE}{PATH}",
    ),
    Case(
        "below an anchor for any purpose",
        lambda w: w.any_purpose.intermediate().issue(PATH),
        Reason.ALLOWED,
        f"spiffe://{ANY_PURPOSE}{PATH}",
    ),
    *rows(
        Reason.ALLOWED,
        PROD,
        {
            "an intermediate for any purpose": lambda w: w.prod.intermediate(extra=[for_any_purpose()]).issue(
                PATH
            ),
            "below an intermediate for any purpose": lambda w: (
                w.prod.intermediate(extra=[for_any_purpose()]).intermediate().issue(PATH)
            ),
            "a Netscape type for clients": typed(_SSL_CLIENT),
            "a Netscape type for both": typed(_BOTH),
            "a common name like a host, outside of the name constraints": constrained,
            "an intermediate with a proxy's extension": lambda w: w.prod.intermediate(extra=[_PROXIES]).issue(
                PATH
            ),
        },
    ),
    *rows(
        Reason.WRONG_KEY_PURPOSE,
        PROD,
        {
            "a Netscape type for servers": typed(_SSL_SERVER),
            "a Netscape type for mail": typed(_MAIL),
            "an empty Netscape type": typed(_NOTHING),
        },
    ),
    # OpenSSL does not present these two.
    Case(
        "a Netscape type that is no string of bits",
        typed(_NO_BITS),
        Reason.WRONG_KEY_PURPOSE,
        PROD,
        wire=False,
    ),
    Case(
        "a proxy's extension",
        lambda w: w.prod.issue(PATH, extra=[_PROXIES]),
        Reason.INVALID_PATH,
        PROD,
        wire=False,
    ),
    Case(
        "a server with a Netscape type for servers", typed(_SSL_SERVER), Reason.ALLOWED, PROD, role="server"
    ),
    Case(
        "a server with a Netscape type for clients",
        typed(_SSL_CLIENT),
        Reason.WRONG_KEY_PURPOSE,
        PROD,
        role="server",
    ),
    *rows(
        Reason.INVALID_PATH,
        PROD,
        {
            "a critical key identifier": with_critical(x509.SubjectKeyIdentifier(b"k")),
            "a critical access to its authority": with_critical(x509.AuthorityInformationAccess([_ACCESS])),
            "address blocks": lambda w: w.prod.issue(PATH, extra=[written(ADDRESSES, "3000")]),
            "autonomous systems": lambda w: w.prod.issue(PATH, extra=[written(SYSTEMS, "3000")]),
        },
    ),
    Case("a curve written out", with_curve_written_out, Reason.WEAK_KEY, PROD),
    Case("a subject with a VisibleString", with_visible_subject, Reason.MALFORMED, None, wire=False),
]

OPENSSL_CASES: tuple[Case, ...] = (*_LIKE_NAMED, *_IDENTIFIED, *_ODD)
