"""A Unix socket that one group of users can reach, and that nobody can replace.

What reaches an authorizer may claim to be any peer, and what takes the authorizer's place lets everybody
in. The directory of the socket keeps both out. The mode of the socket could not: it does not keep anybody
from putting another socket in its place. So the directory is checked, and the way to it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import shlex
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from meshid.errors import InvalidInput
from meshid.support.quoting import quote

MAX_PATH = 107
"""The most bytes of a Unix socket's path: `sockaddr_un` has 108, with a NUL at the end (unix(7))."""

_MOST_LINKS = 40
"""As many symbolic links as Linux follows (path_resolution(7))."""

_OWN = "give the socket a directory of its own"
_PRIVATE = 0o750
_ROOT = 0


@contextlib.contextmanager
def private_socket(path: Path) -> Iterator[socket.socket]:
    """Listen on a Unix socket in a private directory, until the end of the block.

    The directory belongs to this user, and its mode is 0750 at most; nobody but this user and root can
    replace it, or anything on the way to it. Whoever can enter it can connect: so its group is that of
    the proxy. A socket that a process has left behind is replaced.

    Args:
        path: The path of the socket; a relative one begins at the working directory.

    Raises:
        InvalidInput: If the directory is not private, with the command that mends it; or if something else
            is at the path.
        OSError: If the socket cannot be made.
    """
    path = Path.cwd() / path
    if len(os.fsencode(path)) > MAX_PATH:
        msg = f"{quote(str(path))} is too long for a Unix socket, which has {MAX_PATH} bytes at most"
        raise InvalidInput(msg)
    _check_private(path)
    with socket.socket(socket.AF_UNIX) as listener:
        with _alone_in(path.parent):
            _remove_stale(path)
            listener.bind(str(path))
            # The directory decides. With the umask, the proxy would have to be this user.
            path.chmod(0o666)
            listener.listen()
        ours = path.lstat()
        try:
            yield listener
        finally:
            with contextlib.suppress(OSError):
                if os.path.samestat(path.lstat(), ours):
                    path.unlink()


def _check_private(path: Path) -> None:
    directory = path.parent
    try:
        *on_the_way, (last, status) = _way_to(directory)
    except FileNotFoundError as error:
        msg = f"the directory {quote(str(directory))} is not there; make it: {_install(directory)}"
        raise InvalidInput(msg) from error
    for each, its_status in on_the_way:
        _check_on_the_way(each, its_status)
    shown = quote(str(last))
    if not stat.S_ISDIR(status.st_mode):
        msg = f"{shown} is not a directory, so no socket can be in it"
        raise InvalidInput(msg)
    # To close /run or /tmp would mend this socket, and break the machine.
    elsewhere = f"it has other things in it; {_OWN}: {_install(last / 'meshid')}"
    is_shared = _has_others(last, path.name)
    if status.st_uid != os.geteuid():
        mended = elsewhere if is_shared else _install(last)
        msg = f"{shown} belongs to {_user(status.st_uid)}, and must belong to who listens: {mended}"
        raise InvalidInput(msg)
    if (mode := stat.S_IMODE(status.st_mode)) & 0o777 & ~_PRIVATE:
        mended = elsewhere if is_shared else _chmod("750", last)
        msg = f"others can reach or replace what is in {shown}, whose mode is {mode:04o}: {mended}"
        raise InvalidInput(msg)


def _has_others(directory: Path, name: str) -> bool:
    try:
        return any(each.name != name for each in directory.iterdir())
    except PermissionError:
        return True


def _check_on_the_way(directory: Path, status: os.stat_result) -> None:
    """Check that nobody else can replace what is in a directory, or the link to one."""
    shown = quote(str(directory))
    if status.st_uid not in {_ROOT, os.geteuid()}:
        msg = (
            f"{shown} belongs to {_user(status.st_uid)}, who can replace what is below it; put the socket"
            f" elsewhere, for example: {_install(Path('/run/meshid'))}"
        )
        raise InvalidInput(msg)
    # A link has no mode. In a directory that is sticky, only its owner can replace a thing.
    is_open = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX
    if is_open and not stat.S_ISLNK(status.st_mode):
        msg = f"others can replace what is in {shown}, on the way to the socket: {_chmod('go-w', directory)}"
        raise InvalidInput(msg)


def _way_to(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield each directory and each symbolic link on the way to a directory, and itself at last."""
    at, ahead, links = Path("/"), list(reversed(directory.parts[1:])), 0
    yield at, at.lstat()
    while ahead:
        name = ahead.pop()
        each = at.parent if name == ".." else at / name
        status = each.lstat()
        yield each, status
        if not stat.S_ISLNK(status.st_mode):
            at = each
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(directory))
        target = each.readlink()
        at, names = (Path("/"), target.parts[1:]) if target.is_absolute() else (at, target.parts)
        ahead += reversed(names)


@contextlib.contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Let no other process open a socket there meanwhile: it might take ours for one that was left behind."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor, directory)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        msg = f"another process is about to listen in {quote(str(directory))}"
        raise InvalidInput(msg) from error


def _remove_stale(path: Path) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        msg = f"{quote(str(path))} is there, and is no socket; remove it, or choose another path"
        raise InvalidInput(msg)
    with socket.socket(socket.AF_UNIX) as probe:
        # One whose queue is full is in use as well.
        probe.setblocking(False)
        if probe.connect_ex(str(path)) != errno.ECONNREFUSED:
            msg = f"a process listens at {quote(str(path))}; stop it first, or choose another path"
            raise InvalidInput(msg)
    path.unlink()


def _install(directory: Path) -> str:
    user = shlex.quote(_user(os.geteuid()))
    return f"install -d -m 0750 -o {user} -g GROUP_OF_THE_PROXY {shlex.quote(str(directory))}"


def _chmod(mode: str, directory: Path) -> str:
    return f"chmod {mode} {shlex.quote(str(directory))}"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
