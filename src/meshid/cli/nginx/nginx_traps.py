"""What in a configuration of nginx lets strangers past meshid: what is wrong, and what is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import TypeAlias

from meshid.cli.nginx.levels import PASSING, Level, servers_of
from meshid.cli.nginx.nginx_configuration import Configuration, Directive
from meshid.cli.nginx.trap import Caught, Trap
from meshid.cli.nginx.wrong_directives import wrong_directives
from meshid.support.quoting import quote

_Caughts: TypeAlias = Iterator[Caught]

_WHO = {
    "X-Client-Cert-Pem": "$ssl_client_escaped_cert",
    "X-Meshid-Connection": "$proxy_protocol_tlv_unique_id",
}
"""How meshid is told who asks, one or the other."""

_WHAT = {"X-Original-Method": "$request_method", "X-Original-URI": "$request_uri"}
"""How it is told what is asked for."""

_NO_LIMIT = re.compile("0[kmg]?", re.IGNORECASE)


def traps_in(configuration: Configuration) -> list[Caught]:
    """Return what is wrong; it is in the order of the file, in each server."""
    servers = servers_of(configuration.directives)
    judged = {address for server in servers if server.asks for address in server.listens()}
    caught = [each for server in servers for each in _in_server(server, judged)]
    if not judged and not any(server.is_gate for server in servers):
        what = "no server has auth_request, so meshid is never asked; write 'auth_request /_meshid;' in one"
        caught.insert(0, Caught(Trap.NOBODY_ASKED, "all of it", what))
    for each in configuration.unread:
        what = f"{quote(str(each))}: it was not read; check all files: nginx -T | meshid check-nginx -"
        caught.append(Caught(Trap.UNREAD, each.where, what))
    # A line of http { } counts in each server.
    return list(dict.fromkeys(caught))


def _in_server(server: Level, judged: AbstractSet[str]) -> _Caughts:
    if not server.asks:
        yield from _behind_a_gate(server) if server.is_gate else _beside(server, judged)
        return
    questions = server.questions()
    heads = {id(each.head) for each in questions}
    told = [name for name in _WHO if any(each.sets("proxy_set_header", name) for each in questions)]
    limits = set[str]()
    for level in server.below():
        if level.is_in(heads):
            # The question itself goes to meshid, by another path, and is not asked about.
            yield from (each for each in wrong_directives(level) if each.trap is not Trap.OTHER_PATH)
        else:
            yield from wrong_directives(level)
            yield from _passed_on(level, told)
        limits.add(level.value("client_max_body_size"))
    for question in questions:
        yield from _in_question(question)
        # Where all have one limit, a larger body is a 413 before meshid is asked.
        if len(limits) > 1 and not _NO_LIMIT.fullmatch(question.value("client_max_body_size")):
            what = "it counts in the question, too: a larger body is a 500; write 'client_max_body_size 0;'"
            yield Caught(Trap.LARGE_BODY, question.head.where, what)
    if "X-Client-Cert-Pem" in told:
        yield from _verifying(server)


def _behind_a_gate(server: Level) -> _Caughts:
    """Look at a server whose connections come from the mesh port: it hears of admitted peers alone."""
    for level in server.below():
        yield from wrong_directives(level)
        for each in level.own(*PASSING):
            yield from _forged_peer(level, each)


def _beside(server: Level, judged: AbstractSet[str]) -> _Caughts:
    """Look at a server that never asks: if it shares its port with one that does, the client chooses."""
    for level in server.below() if judged & server.listens() else ():
        for each in level.own(*PASSING):
            what = "a client that names this server's host gets here, and meshid is not asked"
            what += "; write auth_request here as well, or listen on another port"
            yield Caught(Trap.NOBODY_ASKED, each.where, f"{quote(str(each))}: {what}")


def _in_question(question: Level) -> _Caughts:
    where = question.head.where
    if not question.own("internal"):
        yield Caught(Trap.OPEN_QUESTION, where, "clients can ask in their own words; write 'internal;'")
    if question.value("proxy_pass_request_headers") != "off":
        what = "the client's own headers reach meshid; write 'proxy_pass_request_headers off;'"
        yield Caught(Trap.OPEN_QUESTION, where, what)
    if question.value("proxy_cache", "off") != "off":
        what = "a verdict may be kept, and then it is everybody's; write 'proxy_cache off;'"
        yield Caught(Trap.KEPT_VERDICT, where, what)
    for name, value in _WHAT.items():
        if question.sets("proxy_set_header", name) != value:
            what = f"meshid is not told what is asked for; write 'proxy_set_header {name} {value};'"
            yield Caught(Trap.WRONG_QUESTION, where, what)
    if not any(question.sets("proxy_set_header", name) == value for name, value in _WHO.items()):
        name, value = next(iter(_WHO.items()))
        what = f"meshid is not told who asks; write 'proxy_set_header {name} {value};'"
        yield Caught(Trap.WRONG_QUESTION, where, what)


def _verifying(server: Level) -> _Caughts:
    mode = server.value("ssl_verify_client", "off")
    where = server.head.where
    files = server.effective("ssl_client_certificate", "ssl_trusted_certificate")
    if mode == "off":
        what = "no client is asked for a certificate, so all get 401; write 'optional_no_ca'"
        yield Caught(Trap.NOT_VERIFIED, where, what)
    if mode == "optional_no_ca" and files:
        what = "with an intermediate in it and not its root, everybody gets 400; leave it out"
        yield Caught(Trap.NOT_VERIFIED, files[0].where, f"{quote(str(files[0]))}: {what}")
    if mode in {"on", "optional"} and not server.effective("ssl_trusted_certificate"):
        what = "if ssl_client_certificate has an intermediate alone, everybody gets 400"
        what += (
            "; write 'ssl_trusted_certificate' with the root as well, or 'ssl_verify_client optional_no_ca;'"
        )
        yield Caught(Trap.NOT_VERIFIED, where, what)
    if server.value("ssl_session_tickets", "on") != "off":
        what = "a session outlives its certificate; write 'ssl_session_tickets off;'"
        yield Caught(Trap.RESUMPTION, where, what)
    if server.value("ssl_session_cache", "none") not in {"none", "off"}:
        what = "a session outlives its certificate; write 'ssl_session_cache off;'"
        yield Caught(Trap.RESUMPTION, where, what)


def _passed_on(level: Level, told: list[str]) -> _Caughts:
    """Look at what goes to the service."""
    for each in level.own(*PASSING):
        setting, _ = PASSING[each.name]
        if not level.effective("auth_request"):
            what = "meshid is not asked here; write auth_request in the server, not in some locations"
            yield Caught(Trap.NOBODY_ASKED, each.where, f"{quote(str(each))}: {what}")
        yield from _forged_peer(level, each)
        for name in told if each.name == "proxy_pass" else ():
            if level.sets(setting, name) != "":
                what = (
                    f"the service gets the {name} that the client wrote; write '{setting} {name} \"\";' here"
                )
                yield Caught(Trap.FORGED_CERTIFICATE, each.where, f"{quote(str(each))}: {what}")


def _forged_peer(level: Level, each: Directive) -> _Caughts:
    setting, peer = PASSING[each.name]
    if level.sets(setting, peer) not in {"", *level.peer_variables()}:
        what = f"the service gets the {peer} that the client wrote"
        what += f"; write '{setting} {peer} $meshid_peer;' here, with all others of the blocks around it"
        yield Caught(Trap.FORGED_PEER, each.where, f"{quote(str(each))}: {what}")
