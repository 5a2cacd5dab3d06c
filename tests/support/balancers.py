"""
Real load balancers in front of listeners: HAProxy and nginx, with configurations as our pages have them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.programs import Daemon

_NGINX_HEAD = """\
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
user nobody nogroup;
pid {folder}/nginx.pid;
error_log stderr;
"""


def placed(text: str, places: Mapping[str, int]) -> str:
    """A configuration whose addresses, `192.0.2.10:587`, have become these ports of loopback; each has to be there."""
    for address, port in places.items():
        assert address in text, f"{address} is not in\n{text}"
        text = text.replace(address, f"127.0.0.1:{port}")
    return text


@contextmanager
def haproxy(folder: Path, text: str, *ports: int) -> Iterator[Daemon]:
    """It runs in the foreground, and listens on these ports."""
    path = folder / "haproxy.cfg"
    path.write_text(f"{text}\n")
    with _running(["haproxy", "-db", "-f", path], folder / "haproxy.log", *ports) as daemon:
        yield daemon


@contextmanager
def nginx(folder: Path, text: str, *ports: int) -> Iterator[Daemon]:
    """It runs in the foreground, and listens on these ports."""
    path = folder / "nginx.conf"
    path.write_text(_NGINX_HEAD.format(folder=folder) + text)
    command = ["nginx", "-p", folder, "-e", "stderr", "-c", path]
    with _running(command, folder / "nginx.log", *ports) as daemon:
        yield daemon


@contextmanager
def _running(command: list[str | Path], log: Path, *ports: int) -> Iterator[Daemon]:
    daemon = Daemon.start(command, log=log)
    try:
        daemon.wait_for(*ports)
        yield daemon
    finally:
        daemon.stop()
