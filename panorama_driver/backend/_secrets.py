"""The secrets of a deployment: files of mode 0600 in a folder of mode 0700, made once and kept."""

from __future__ import annotations

import importlib.util
import json
import secrets
from collections.abc import Sequence
from pathlib import Path

from ..config import netrc_login
from ..errors import EnvironmentMissingError
from ._definitions import COLLECTOR, PUBLISHER, definitions
from ._files import private

SEARCH_USER = "panorama"
_LOCAL = ("localhost", "127.0.0.1")
_BYTES = 24  # of chance in a password


def make(folder: Path, *, search: bool, tls: bool, hosts: Sequence[str]) -> None:
    """Make what is missing in a folder of secrets; what is there stays as it is.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    search, tls : bool
        Whether there is a search engine; whether broker and collector speak TLS.
    hosts : sequence of str
        Names and addresses that clients know this machine by, for its certificates.

    Raises
    ------
    EnvironmentMissingError
        A package that makes certificates or hashes is not installed.
    """
    if search or tls:
        _needs(search)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    logins = {
        COLLECTOR: login(folder / "collector-netrc", COLLECTOR, ("broker", *_LOCAL)),
        PUBLISHER: login(folder / "publisher-netrc", PUBLISHER, (*_LOCAL, *hosts)),
    }
    if not (folder / "broker-definitions.json").exists():
        private(folder / "broker-definitions.json", json.dumps(definitions(logins), indent=1))
    for name in ("collector-token", "dashboard-token"):
        if not (folder / name).exists():
            private(folder / name, secrets.token_urlsafe(_BYTES) + "\n")
    if search:
        _search(folder)
    if search or tls:
        _certify(folder, search, tls, hosts)


def login(path: Path, user: str, machines: Sequence[str]) -> str:
    """The password of a netrc file, which is made, and has a line for each of the machines."""
    password = netrc_login(path, machines[0])[1] if path.exists() else secrets.token_urlsafe(_BYTES)
    text = "".join(f"machine {machine} login {user} password {password}\n" for machine in dict.fromkeys(machines))
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        private(path, text)
    return password


def _search(folder: Path) -> None:
    """Password of the search engine's only user, and the engine's own file of users (a bcrypt hash)."""
    password = login(folder / "search-netrc", SEARCH_USER, ("search", *_LOCAL))
    users = folder / "search-internal-users.yml"
    if users.exists():
        return
    import bcrypt

    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=12)).decode()
    private(
        users,
        "_meta:\n  type: internalusers\n  config_version: 2\n\n"
        f'{SEARCH_USER}:\n  hash: "{hashed}"\n  description: collector and dashboard\n',
    )


def _certify(folder: Path, search: bool, tls: bool, hosts: Sequence[str]) -> None:
    from ._certificates import authority, issue

    by = authority(folder)
    if search:
        issue(by, folder / "search.pem", folder / "search.key", "search", ("search", *_LOCAL))
        issue(by, folder / "administrator.pem", folder / "administrator.key", "administrator", ("administrator",))
    if tls:
        for name in ("broker", "collector"):
            named = list(dict.fromkeys((name, *_LOCAL, *hosts)))
            new = issue(by, folder / f"{name}.pem", folder / f"{name}.key", name, named)
            both = folder / f"{name}-https.pem"
            if name == "collector" and (new or not both.exists()):
                parts = (folder / f"{name}.pem", folder / f"{name}.key")
                private(both, "".join(part.read_text(encoding="utf-8") for part in parts))


def _needs(search: bool) -> None:
    wanted = ("cryptography", "bcrypt") if search else ("cryptography",)
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise EnvironmentMissingError(
            f"certificates and hashes of passwords need {' and '.join(missing)}; install with: "
            "pip install 'panorama-driver[deploy]', in a clone '.[deploy]'"
        )
