"""Starts the HTTP API on the running cluster, and makes its tokens.

python -m serve_app up                                   on loopback, port 8000; what `python -m cluster up` calls
python -m serve_app down                                 end it; the cluster stays
python -m serve_app sign-in                              print a link that signs in a browser once, within an hour
python -m serve_app config                               a Serve config file for `serve deploy`
python -m serve_app token create NAME --scope write      make a token; it is shown once
python -m serve_app token list | revoke ID-OR-NAME
python -m serve_app upload FILE-OR-FOLDER ...            send files to a server, for `source: {type: upload, upload: ID}`
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from typing import Any

import yaml

from cluster.machines.errors import ClusterError
from cluster.machines.paths import raylens_home
from configs.settings import SettingsError
from serve_app.security.tokens import SCOPES, Tokens, TokensError, check_exposure
from serve_app.settings import DEFAULT_PORT, is_loopback


def main(arguments: list[str] | None = None) -> int:
    """Runs one command. Gives the exit status."""
    given = _parser().parse_args(arguments)
    try:
        if given.command == "token":
            return _token(given)
        if given.command == "upload":
            from serve_app.upload_client import run

            return run(given)
        return {"up": _up, "down": _down, "config": _config, "sign-in": _sign_in}[given.command](given)
    except (ClusterError, SettingsError, TokensError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _up(given: argparse.Namespace) -> int:
    from serve_app.deploy import up

    check_exposure(given.host, Tokens(raylens_home()), given.others)
    url = up(given.host, given.port, given.replicas, given.device, given.others)
    print(
        f"open {_link(url)}\n  in a browser. The link works once, within an hour; `python -m serve_app sign-in` prints another."
    )
    print(f"the API is at {url}/v1, its documentation at {url}/docs")
    if is_loopback(given.host):
        print(f'try: curl -H "Authorization: Bearer $(cat {raylens_home()}/token)" {url}/v1/jobs')
    return 0


def _sign_in(given: argparse.Namespace) -> int:
    from serve_app.deploy import running_url

    print(_link(given.url or running_url()))
    return 0


def _link(url: str) -> str:
    """The address at which a browser is signed in. A browser sends nothing behind `#` to a server, nor to its log."""
    from cluster.catalog import CatalogError, open_catalog
    from serve_app.security.sessions import new_code

    try:
        with open_catalog() as catalog:
            return f"{url}/sign-in#{new_code(catalog)}"
    except CatalogError as error:
        raise ClusterError(str(error)) from error


def _down(given: argparse.Namespace) -> int:
    from serve_app.deploy import down

    down()
    print("the API has ended")
    return 0


def _config(given: argparse.Namespace) -> int:
    from serve_app.deployment import config

    check_exposure(given.host, Tokens(raylens_home()), given.others)
    mapping = config(given.host, given.port, given.replicas, given.device, given.others)
    print(yaml.safe_dump(mapping, sort_keys=False), end="")
    return 0


def _token(given: argparse.Namespace) -> int:
    tokens = Tokens(raylens_home())
    if given.does == "create":
        token, text = tokens.create(given.name, given.scope or ["read"], given.days and given.days * 86_400)
        print(f"token {token.id} ({', '.join(token.scopes)}); it is shown this once:", file=sys.stderr)
        print(text)
    elif given.does == "revoke":
        for token in tokens.revoke(given.which):
            print(f"revoked {token.id} ({token.name})")
    else:
        for token in tokens.all():
            state = (
                "revoked" if token.revoked_at else "valid" if token.valid(datetime.now(UTC).timestamp()) else "expired"
            )
            made = datetime.fromtimestamp(token.created_at, UTC).strftime("%Y-%m-%d %H:%M")
            print(f"{token.id}  {state:<8}{'+'.join(token.scopes):<12}{made}  {token.name}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serve_app", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="up | down | sign-in | config | token | upload"
    )
    for name, does in (("up", "start the API on the running cluster"), ("config", "print a Serve config file")):
        one = commands.add_parser(name, help=does)
        one.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
        one.add_argument(
            "--port", type=int, default=DEFAULT_PORT, help=f"port to listen on (default: {DEFAULT_PORT}; 0: any)"
        )
        one.add_argument("--replicas", type=int, default=2, help="replicas (default: 2)")
        one.add_argument(
            "--device", choices=("auto", "cpu", "cuda"), default="auto" if name == "up" else "cpu",
            help="where the interactive language model runs; auto: on a GPU where the cluster has one",
        )  # fmt: skip
        one.add_argument(
            "--i-understand-that-others-can-reach-it", dest="others", action="store_true",
            help="listen on another address than loopback",
        )  # fmt: skip
    commands.add_parser("down", help="end the API; the cluster stays")
    sign_in = commands.add_parser("sign-in", help="print a link that signs in a browser once, within an hour")
    sign_in.add_argument("--url", help="the server's address in browsers, where a proxy is in front of it")
    _add_upload(commands)
    token = commands.add_parser("token", help="make, list and revoke tokens")
    verbs = token.add_subparsers(dest="does", required=True, metavar="create | list | revoke")
    create = verbs.add_parser("create", help="make a token")
    create.add_argument("name", help="who it is for")
    create.add_argument("--scope", action="append", choices=SCOPES, help="read (default) or write; write includes read")
    create.add_argument("--days", type=float, help="how long it is valid (default: until it is revoked)")
    verbs.add_parser("list", help="list all tokens")
    verbs.add_parser("revoke", help="revoke a token").add_argument("which", help="its id or name")
    return parser


def _add_upload(commands: Any) -> None:
    upload = commands.add_parser("upload", help="send files to a server")
    upload.add_argument("paths", nargs="+", metavar="FILE-OR-FOLDER", help="a folder is sent with all that is in it")
    upload.add_argument("--name", help="what the upload is called; the artifact made of it has this label")
    upload.add_argument("--resume", metavar="ID", help="go on with an upload that was cut")
    upload.add_argument(
        "--url", default=f"http://127.0.0.1:{DEFAULT_PORT}", help="the server (default: this machine's)"
    )
    upload.add_argument(
        "--token-file", metavar="FILE", help="file (mode 600) with a token of scope write, or - for standard input "
        "(default: the cluster's own token in RAYLENS_HOME, which works on the server's machine)",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
