"""Why a peer was admitted or refused: one closed enum.

This file is a table. Each row is one cause: what it means, the clause that it
enforces, and what the operator should do. `docs/reasons.md` and the command line
are made from it, so that nothing about a reason is written twice. The values are
stable: audit records and alarms are built on them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """The cause of a decision.

    A member is its own stable text (``Reason.EXPIRED == "expired"``).

    Attributes:
        meaning: One sentence, for a person.
        clause: The specification and clause, or the promise of meshid, that it enforces.
        remedy: What the operator should do.
    """

    meaning: str
    clause: str
    remedy: str

    # That of an enum is a call into Python, several times for each request.
    __hash__ = str.__hash__

    def __new__(cls, value: str, meaning: str, clause: str, remedy: str) -> Self:
        """Make a member whose text is *value*."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        member.clause = clause
        member.remedy = remedy
        member.__doc__ = f"{meaning} ({clause})"
        return member

    # -- The peer is admitted -------------------------------------------------
    ALLOWED = (
        "allowed",
        "An allow rule matches and no deny rule does.",
        "meshid policy: deny beats allow",
        "Nothing.",
    )
    REQUEST_AWAITED = (
        "request_awaited",
        "The connection is let through, because a rule with http conditions may allow its requests.",
        "meshid policy: http conditions at the handshake",
        "Nothing: each request is judged by check().",
    )
    EXPECTED = (
        "expected",
        "The server's name matches a pattern that the client expects.",
        "meshid client_context(expect=...)",
        "Nothing.",
    )
    OBSERVED = (
        "observed",
        "The policy only observes: it decides nothing and records what it would have decided.",
        "meshid policy: observe = true",
        "Read what it would have decided, then remove `observe` from the policy.",
    )
    PUBLIC = (
        "public",
        "The request needs no peer: the service has made its path public.",
        "meshid http middleware: public",
        "Nothing, if the path is meant to be open to everybody.",
    )

    # -- There is no chain that can be judged ---------------------------------
    NO_CERTIFICATE = (
        "no_certificate",
        "The peer presented no certificate.",
        "RFC 8446 section 4.4.2.4",
        "Give the client its certificate and key; a client without any may not connect here.",
    )
    CHAIN_TOO_LARGE = (
        "chain_too_large",
        "The chain is larger than meshid is willing to look at.",
        "meshid input limits (meshid.certificates.chain)",
        "Send the leaf and its intermediates only; a leaf names one workload.",
    )
    MALFORMED = (
        "malformed_certificate",
        "The bytes are not a certificate that can be read.",
        "RFC 5280 section 4.1",
        "Look at the issuer: the certificate breaks its own format.",
    )

    # -- The leaf does not name one workload ----------------------------------
    NO_NAME = (
        "no_name",
        "The leaf has no name that a profile can read.",
        "X509-SVID section 2",
        "Issue a certificate with one SPIFFE ID as URI SAN; a common name is never an identity.",
    )
    MANY_NAMES = (
        "ambiguous_name",
        "The leaf has more than one name where its profile allows one.",
        "X509-SVID section 2",
        "Issue one certificate for each workload identity.",
    )
    INVALID_NAME = (
        "invalid_name",
        "The leaf's name is not a valid SPIFFE ID.",
        "SPIFFE-ID section 2",
        "Correct the name in the issuer's template; trust domains are lower-case ASCII.",
    )
    NAME_WITHOUT_PATH = (
        "name_without_path",
        "The leaf names a trust domain and no workload in it.",
        "X509-SVID sections 3.1 and 5.2",
        "Issue the workload a SPIFFE ID with a path.",
    )
    UNKNOWN_TRUST_DOMAIN = (
        "unknown_trust_domain",
        "No trust bundle is loaded for the trust domain that the leaf claims.",
        "SPIFFE Trust Domain and Bundle section 3; SPIFFE Workload API section 4.6",
        "If it should be trusted here, load its bundle; if not, the peer is in the wrong environment.",
    )
    PROFILE_MISMATCH = (
        "profile_mismatch",
        "The leaf's name is of another profile than the bundle of its trust domain declares.",
        "meshid profiles: a bundle names its profile",
        "Declare the bundle with the profile that its authorities issue (spiffe, linkerd or dns).",
    )

    # -- The leaf may not be used like this -----------------------------------
    LEAF_IS_CA = (
        "leaf_is_ca",
        "A certificate authority's certificate was presented as a leaf.",
        "X509-SVID sections 4.1 and 5.2",
        "A signing certificate must not authenticate: give the peer a leaf of its own.",
    )
    LEAF_MAY_SIGN = (
        "leaf_may_sign",
        "The leaf's key usage has keyCertSign or cRLSign.",
        "X509-SVID section 5.2",
        "Remove both key usages from the issuer's leaf template.",
    )
    NO_DIGITAL_SIGNATURE = (
        "no_digital_signature",
        "The leaf's key usage is missing or lacks digitalSignature.",
        "X509-SVID section 4.3",
        "Set digitalSignature in the issuer's leaf template.",
    )
    WRONG_KEY_PURPOSE = (
        "wrong_key_purpose",
        "The leaf's extended key usage or Netscape certificate type does not allow what the peer does here.",
        "X509-SVID section 4.4; RFC 5280 section 4.2.1.12",
        "Set both clientAuth and serverAuth in the issuer's leaf template, and leave nsCertType out.",
    )
    WEAK_KEY = (
        "weak_key",
        "The leaf's public key is of a kind, size or form that meshid does not accept.",
        "NIST SP 800-131A section 3",
        "Use P-256, P-384, P-521, Ed25519, ML-DSA, or RSA of 2048 to 8192 bits.",
    )
    NOT_YET_VALID = (
        "not_yet_valid",
        "The leaf is not valid yet.",
        "RFC 5280 section 6.1.3 (a)(2)",
        "Compare the clocks of this host and of the issuer.",
    )
    EXPIRED = (
        "expired",
        "The leaf is no longer valid.",
        "RFC 5280 section 6.1.3 (a)(2)",
        "Find out why the peer did not renew: its agent, its mount, or a process that never reloads.",
    )

    # -- No authority of its trust domain vouches for it ----------------------
    SELF_SIGNED = (
        "self_signed",
        "The leaf is signed by its own key.",
        "X509-SVID section 5.2",
        "Give the peer a certificate that an authority of its trust domain issued.",
    )
    FOREIGN_AUTHORITY = (
        "foreign_authority",
        "An authority of one trust domain signed a name of another.",
        "SPIFFE-ID section 3; SPIFFE Federation section 7.3",
        "Treat it as an attack, or as a grave mistake: the name was not that authority's to give.",
    )
    UNKNOWN_AUTHORITY = (
        "unknown_authority",
        "No path leads from the leaf to an authority of its trust domain.",
        "RFC 5280 section 6.1; X509-SVID section 5.2",
        "Make the peer send its intermediates; if its authority is new, add that to the bundle.",
    )
    AUTHORITY_NOT_IN_DATE = (
        "authority_not_in_date",
        "Each path to an authority has a certificate authority in it that is expired or not yet valid.",
        "RFC 5280 section 6.1.3 (a)(2)",
        "Renew that certificate authority and publish the new bundle.",
    )
    INVALID_PATH = (
        "invalid_path",
        "The names lead to an authority, but the path breaks a rule of path validation.",
        "RFC 5280 section 6.1",
        "Read the detail: a signature, its algorithm, a name constraint, a path length, no keyCertSign.",
    )
    REVOKED = (
        "revoked",
        "A certificate revocation list names a certificate of the path.",
        "RFC 5280 section 6.3",
        "If the revocation was a mistake, issue a new certificate: a revocation cannot be undone.",
    )
    CRL_NOT_IN_DATE = (
        "crl_not_in_date",
        "The revocation list of an issuer in the path is past its next update, or not valid yet.",
        "RFC 5280 section 6.3.3 (a)",
        "Publish a current list for that issuer, or remove the old one.",
    )
    REVOCATION_UNDETERMINED = (
        "revocation_undetermined",
        "A revocation list of an issuer in the path cannot be used, so nobody knows what it revokes.",
        "RFC 5280 section 6.3.3",
        "Publish a list that can be read and that the issuer signed, or remove the one in the detail.",
    )
    DENY_LISTED = (
        "deny_listed",
        "The deny list names the peer or a certificate of its path.",
        "meshid revocations: deny list",
        "Remove the entry from the deny list, if the incident is over.",
    )

    # -- A token says otherwise, or counts for nothing ------------------------
    TOKEN_MALFORMED = (
        "token_malformed",
        "The token is not one signed JWT in the compact form, or its JSON is ambiguous.",
        "RFC 7515 section 7.1; RFC 7519 section 7.2; RFC 8725 section 3",
        "Read the detail. Honest issuers make no such tokens: look at what is in between.",
    )
    TOKEN_TYPE = (
        "token_type",
        "The token is of another type than its issuer gives to workloads.",
        "RFC 8725 section 3.11; JWT-SVID section 2.3",
        "Send an access token or a workload token; an ID token or a logout token proves nothing here.",
    )
    TOKEN_ALGORITHM = (
        "token_algorithm",
        "The token is signed with an algorithm that its key is not for, or has a critical header.",
        "RFC 8725 sections 3.1 and 3.2; RFC 7515 section 4.1.11; JWT-SVID section 2.1",
        "Treat it as an attack, unless the issuer has just changed the algorithm of its keys.",
    )
    TOKEN_ISSUER_UNKNOWN = (
        "token_issuer_unknown",
        "No issuer of this environment issues such tokens.",
        "RFC 7519 section 4.1.1; meshid policy: an issuer belongs to one environment",
        "Declare the issuer in the policy's environment, or send the token of one that is declared.",
    )
    TOKEN_KEY_UNKNOWN = (
        "token_key_unknown",
        "The issuer has published no key of that name.",
        "RFC 7515 section 4.1.4; RFC 7517 section 5",
        "If the issuer has just changed its keys, try again in half a minute; if not, it is a forgery.",
    )
    TOKEN_KEYS_UNAVAILABLE = (
        "token_keys_unavailable",
        "The keys of the issuer have not been read, or not for too long.",
        "meshid promise 1: fail closed",
        "Look at the alarm about the issuer: it says why its keys cannot be read.",
    )
    TOKEN_SIGNATURE = (
        "token_signature",
        "The signature of the token is not that of its key.",
        "RFC 7515 section 5.2",
        "Treat it as an attack: the token was forged or changed.",
    )
    TOKEN_AUDIENCE = (
        "token_audience",
        "The token is meant for somebody else.",
        "RFC 7519 section 4.1.3; JWT-SVID section 3.2",
        "Ask the issuer for a token with an audience that the policy names, and with no wildcard.",
    )
    TOKEN_NOT_IN_DATE = (
        "token_not_in_date",
        "The token is expired, not valid yet, or valid for longer than its issuer may say.",
        "RFC 7519 sections 4.1.4 to 4.1.6; JWT-SVID section 3.3",
        "Find out why the peer does not fetch a new one; compare the clocks.",
    )
    TOKEN_CLAIMS = (
        "token_claims",
        "A claim of the token is missing, is of another type, or is not what its issuer is pinned to.",
        "RFC 7519 section 4; meshid policy: pins of an issuer",
        "Read the detail: it names the claim.",
    )
    TOKEN_UNBOUND = (
        "token_unbound",
        "The token is bound to nothing that can be checked here.",
        "RFC 8705 section 3; RFC 7800 section 3.1; RFC 9449 section 6",
        "Have the issuer bind it to the client's certificate (x5t#S256), or allow what it is bound to.",
    )
    TOKEN_BOUND_ELSEWHERE = (
        "token_bound_elsewhere",
        "The token is bound to another certificate or key than this connection's.",
        "RFC 8705 section 3; RFC 7800 section 3.1",
        "If the peer has renewed its certificate, it needs a new token; if not, the token was stolen.",
    )
    TOKEN_DISAGREES = (
        "token_disagrees",
        "The certificate and the token name different peers, or the token names none.",
        "meshid policy: a token never stands alone",
        "Give both names to one peer in [[peers]]; if they are not of one workload, the token was stolen.",
    )
    NO_TOKEN = (
        "no_token",
        "There is no token of an issuer of this environment, and one is required.",
        "RFC 6750 section 3; meshid policy: evidence",
        "Send a token as `Authorization: Bearer`.",
    )

    # -- The policy says no ---------------------------------------------------
    DENIED = (
        "denied",
        "A deny rule matches.",
        "meshid policy: deny beats allow",
        "If the peer should be admitted, narrow the deny rule; an allow rule cannot overrule it.",
    )
    NO_RULE = (
        "no_rule",
        "No allow rule matches.",
        "meshid policy: no matching allow is a refusal",
        "If the peer should be admitted, add or widen an allow rule; the detail names the nearest one.",
    )
    NO_POLICY = (
        "no_policy",
        "No policy is loaded, so no client is admitted.",
        "meshid promise 1: fail closed",
        "Give the Mesh a policy.",
    )
    UNSAFE_REQUEST = (
        "unsafe_request",
        "The request's method or path cannot be normalised safely.",
        "RFC 3986 section 6.2.2; meshid policy: the path that is judged is the path that is served",
        "Find out who sends it: honest clients send no dot segments, double encodings or lower-case methods.",
    )
    UNEXPECTED_SERVER = (
        "unexpected_server",
        "The server's name matches no pattern that the client expects.",
        "RFC 9525 section 6; meshid client_context(expect=...)",
        "Check the address that was dialled; if the server was renamed, correct `expect`.",
    )

    # -- There is no verdict --------------------------------------------------
    PLAINTEXT_BEFORE_TLS = (
        "plaintext_before_tls",
        "Plaintext came after the command that begins TLS, and before the TLS handshake.",
        "RFC 3207 section 4",
        "Treat it as an attack; an honest peer waits for the answer to its command before it sends more.",
    )
    KEY_NOT_PROVEN = (
        "key_not_proven",
        "The peer did not prove that it holds the key of its leaf.",
        "RFC 8446 section 4.4.3; RFC 5246 sections 7.4.3 and 7.4.8",
        "Give the peer the key that belongs to its certificate; a peer that cannot have it is an impostor.",
    )
    TLS_FAILED = (
        "tls_failed",
        "The TLS library aborted the handshake after the peer's certificate was accepted.",
        "RFC 8446 section 6.2",
        "Read the detail, and the log of the other end, which may have broken off.",
    )
    INTERNAL_ERROR = (
        "internal_error",
        "Something failed inside meshid or in a sink or clock that it was given.",
        "meshid promise 1: fail closed",
        "Report it with the detail; until it is fixed, such peers stay out.",
    )
