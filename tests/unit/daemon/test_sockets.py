"""What cannot be listened on: one line, with the way out."""

# ruff: noqa: E501 — a row of a table is a line

import errno
import os
import socket

import pytest

from moq_relay.daemon import sockets
from moq_relay.daemon.config.values import Address
from moq_relay.errors import ConfigError


def error(number):
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EADDRINUSE, "UDP port 443 of :: is in use; stop what uses it, or choose another port"),
        (errno.EACCES, "UDP port 443 is not allowed to this user; choose one above 1023, or give the program the capability CAP_NET_BIND_SERVICE"),
        (errno.EADDRNOTAVAIL, ":: is no address of this host; [::] listens on all of them"),
        (errno.EAFNOSUPPORT, "this host has no IPv6; write 0.0.0.0 instead of ::"),
        (errno.ENOBUFS, "cannot listen on UDP [::]:443: No buffer space available"),
    ],
)  # fmt: skip
def test_every_reason_says_what_to_do(number, said):
    problem = sockets.problem("relay.toml: server.listen", "UDP", Address("::", 443), error(number))

    assert str(problem) == f"relay.toml: server.listen: {said}"


async def test_localhost_is_both_of_its_addresses():
    found = await sockets.resolve(Address("localhost", 1), "x")

    assert found == [Address("127.0.0.1", 1), Address("::1", 1)]


def test_an_address_that_this_host_lacks_counts_only_alone():
    absent = (Address("::1", 1), error(errno.EADDRNOTAVAIL))
    taken = (Address("127.0.0.1", 1), error(errno.EADDRINUSE))

    assert sockets.first_problem([absent]) is None
    assert sockets.first_problem([absent, taken]) == taken


async def test_what_was_opened_before_a_failure_is_closed_again():
    with socket.socket(socket.AF_INET6) as other:
        other.bind(("::1", 0))
        port = other.getsockname()[1]

        with pytest.raises(ConfigError, match=f"TCP port {port} of ::1 is in use"):
            await sockets.bind_tcp(Address("localhost", port), "x")

    with socket.socket() as free:
        free.bind(("127.0.0.1", port))


async def test_both_families_are_served_by_the_unspecified_address():
    (opened,) = await sockets.bind_tcp(Address("::", 0), "x")
    with opened:
        port = opened.getsockname()[1]

        for host in "127.0.0.1", "::1":
            with socket.create_connection((host, port), timeout=5):
                pass
