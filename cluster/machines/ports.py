"""Ports and addresses of this machine."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from cluster.machines.errors import ClusterError

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Free ports of which no two are the same: all are bound before the first is given back."""
    with ExitStack() as bound:
        probes = [bound.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def asked_port(port: int, usual: int, other: int, what: str) -> int:
    """The port that was asked for, which must be free; without one the usual port, or the other if that is taken."""
    if not port:
        return usual if is_free(usual) else other
    if not 1024 <= port <= 65535:
        raise ClusterError(f"{what}={port}: a port is a number from 1024 to 65535")
    if not is_free(port):
        raise ClusterError(f"{what}={port} is taken by another process: choose another, or leave it out")
    return port


def is_free(port: int) -> bool:
    """True if this machine can listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def own_address(host: str) -> str:
    """The address of this machine that a host name stands for. Raises ClusterError if it is another machine's."""
    try:
        address = socket.gethostbyname(host)
    except OSError as error:
        raise ClusterError(f"--host {host}: no such host ({error})") from None
    if address.startswith("127."):
        return LOOPBACK
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            raise ClusterError(f"--host {host}: {address} is not an address of this machine") from None
    if address == "0.0.0.0":
        raise ClusterError(f"--host {host}: give the one address that the other machines reach this one at")
    return address


def answers(address: str, timeout: float = 2.0) -> bool:
    """True if something accepts connections at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=timeout):
            return True
    except OSError:
        return False
