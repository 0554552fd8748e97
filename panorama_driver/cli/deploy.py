"""`panorama deploy`: the back end in containers."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._common import json_option, write_json
from ._progress import Told

if TYPE_CHECKING:
    from ..backend._compose import Service
    from ..backend.containers import Deployment, Written

_HERE = "panorama-deployment"
_FAILED = 1

_folder = click.argument("folder", metavar="[DIR]", default=_HERE, type=click.Path(path_type=Path, file_okay=False))
_named = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
_engine = click.option(
    "--engine",
    type=click.Choice(["docker", "podman-compose", "podman", "docker-compose"]),
    help="Which compose command to call; default: the first of these that works.",
)


def _settings(function: Callable[..., int]) -> Callable[..., int]:
    """The options that say what a deployment is to be like."""
    for option in (
        click.option(
            "--wheel",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            metavar="FILE",
            help="This package for the image; default: built from the checkout.",
        ),
        click.option("--image", metavar="NAME", help="An image that has this package, in place of building one."),
        click.option("--project", metavar="NAME", help="What containers and volumes are called after [panorama]."),
        click.option("--broker-port", type=click.IntRange(1, 65535), help="AMQP on 127.0.0.1 [5672]."),
        click.option(
            "--collector-port", type=click.IntRange(1, 65535), help="HTTP of the collector on 127.0.0.1 [8470]."
        ),
        click.option("--dashboard-port", type=click.IntRange(1, 65535), help="The dashboard on 127.0.0.1 [8360]."),
        click.option(
            "--name",
            "names",
            multiple=True,
            metavar="HOST",
            help="Name that clients know this machine by, for its certificates; may be repeated.",
        ),
        click.option(
            "--address",
            metavar="IP",
            help="Where broker (5671) and collector (8470) listen over TLS; 0.0.0.0 is everywhere. Implies --tls.",
        ),
        click.option(
            "--tls/--no-tls",
            default=None,
            help="Broker and collector speak TLS as well, as this deployment's own authority certifies.",
        ),
        click.option(
            "--store",
            type=click.Choice(["opensearch", "sqlite"]),
            help="Where events go: a search engine, or a file on a volume [opensearch].",
        ),
    ):
        function = option(function)
    return function


@click.group("deploy")
def command() -> None:
    """The back end in containers: RabbitMQ, OpenSearch, collector and dashboard, by docker compose or podman-compose.

    DIR holds all that a deployment is made of: settings (.env), compose files, passwords and keys (secrets/, files of
    mode 0600), Kubernetes manifests. Default: panorama-deployment. Nothing is open but on 127.0.0.1 unless --address
    says so. Each command that runs is shown.

    \b
    Examples:
      panorama deploy write mydeployment --store sqlite     # to look at it first
      panorama deploy up mydeployment
      panorama deploy backup mydeployment backup-monday
    """


@command.command("write")
@_folder
@_settings
@json_option
def write_command(folder: Path, as_json: bool, **asked: Any) -> int:
    """Make DIR, or bring it up to date; starts nothing.

    What is asked for is kept in DIR/.env. Secrets are made once and kept; compose files and configuration are written
    anew, as of this version.

    \b
    Examples:
      panorama deploy write
      panorama deploy write --store sqlite --dashboard-port 8400
      panorama deploy write --address 0.0.0.0 --name broker.example.org
    """
    written = _write(folder, asked)
    if as_json:
        write_json(_told(written))
    else:
        click.echo(f"{written.folder}: {', '.join(written.settings.files)}, and secrets/ that only you can read")
        click.echo(f"next:  panorama deploy up {shlex.quote(str(folder))}")
    return 0


@command.command("up")
@_folder
@_settings
@_engine
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait until all is healthy.",
)
@json_option
def up_command(folder: Path, engine: str | None, timeout: float, as_json: bool, **asked: Any) -> int:
    """Start the back end and wait until each part is healthy; makes DIR if it is missing.

    Again on what runs already it changes nothing but what has other settings now. Compose files that you have changed
    stay as they are unless you ask for other settings.

    \b
    Examples:
      panorama deploy up
      panorama deploy up --store sqlite --engine podman-compose
    """
    if any(asked.values()) or asked["tls"] is not None or not (folder / ".env").exists():
        _write(folder, asked)
    deployment = _deployment(folder, engine)
    progress = Told()
    services = deployment.up(progress, timeout)
    progress.end()
    if as_json:
        write_json(
            {"services": [_row(services[name]) for name in deployment.settings.services]} | _addresses(deployment)
        )
    else:
        _greet(deployment)
    return 0


@command.command("down")
@_folder
@_engine
@click.option("--volumes", is_flag=True, help="Delete all data as well: events, queues, snapshots.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def down_command(folder: Path, engine: str | None, volumes: bool, yes: bool) -> int:
    """Stop and remove the containers; the data stay on their volumes.

    \b
    Examples:
      panorama deploy down
      panorama deploy down --volumes      # asks first
    """
    if volumes and not yes:
        click.confirm("delete all events, queues and snapshots of this deployment?", abort=True)
    _deployment(folder, engine).down(volumes)
    return 0


@command.command("status")
@_folder
@_engine
@json_option
def status_command(folder: Path, engine: str | None, as_json: bool) -> int:
    """Tell how each part stands; exit code 1 if one is not healthy.

    \b
    Examples:
      panorama deploy status
      panorama deploy status --json
    """
    deployment = _deployment(folder, engine, quiet=True)
    services = deployment.status()
    if as_json:
        write_json({"services": [_row(service) for service in services]} | _addresses(deployment))
    else:
        for service in services:
            click.echo(f"{service.name:<10} {service.state:<10} {service.health}")
    return 0 if all(service.good for service in services) else _FAILED


@command.command("pin")
@_folder
@_engine
def pin_command(folder: Path, engine: str | None) -> int:
    """Fetch the images of others, and write into .env which they are by digest, so that they stay the same for good.

    \b
    Example:
      panorama deploy pin && panorama deploy up
    """
    for before, after in _deployment(folder, engine).pin().items():
        click.echo(f"{before} is {after}")
    return 0


@command.command("backup")
@_named
@click.argument("target", metavar="BACKUP", type=click.Path(path_type=Path))
@_engine
def backup_command(folder: Path, target: Path, engine: str | None) -> int:
    """Write the store and the broker's definitions into a new folder BACKUP, while everything runs.

    The collector of a search engine rests for the snapshot; what is published meanwhile waits in the broker. Messages
    that still wait there are not in the backup: the collector takes them as they come. Keep a copy of DIR too: it has
    the passwords and keys.

    \b
    Example:
      panorama deploy backup panorama-deployment backup-monday
    """
    from ..backend._backup import backup

    manifest = backup(_deployment(folder, engine), target)
    sizes = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in manifest["bytes"].items())
    click.echo(f"{target}: {sizes}")
    return 0


@command.command("restore")
@_named
@click.argument("source", metavar="BACKUP", type=click.Path(path_type=Path, exists=True, file_okay=False))
@_engine
@click.option("--yes", is_flag=True, help="Do not ask.")
def restore_command(folder: Path, source: Path, engine: str | None, yes: bool) -> int:
    """Put a backup in the place of what this deployment has; it must be up.

    Collector and dashboard are stopped meanwhile; what is published waits in the broker. Passwords stay those of DIR.

    \b
    Example:
      panorama deploy restore panorama-deployment backup-monday
    """
    from ..backend._backup import read_manifest, restore

    deployment = _deployment(folder, engine)
    told = read_manifest(source, deployment.settings.store)
    if not yes:
        click.confirm(f"replace all events of this deployment by those of {told['created']}?", abort=True)
    restore(deployment, source)
    return 0


def _write(folder: Path, asked: dict[str, Any]) -> Written:
    from ..backend.containers import wheel_of_checkout, write

    wheel, image = asked.pop("wheel"), asked["image"]
    asked["names"] = tuple(asked["names"]) or None
    if wheel is not None or image is not None or any((folder / "image").glob("*.whl")):
        return write(folder, asked, wheel)
    written = write(folder, asked)
    if written.settings.image != type(written.settings)().image:
        return written
    click.echo("building this package for the image ...", err=True)
    with tempfile.TemporaryDirectory() as built:
        return write(folder, asked, wheel_of_checkout(Path(built)))


def _deployment(folder: Path, engine: str | None, quiet: bool = False) -> Deployment:
    from ..backend.containers import Deployment

    return Deployment(
        folder, engine, (lambda line: None) if quiet else (lambda line: click.echo(f"+ {line}", err=True))
    )


def _told(written: Written) -> dict[str, Any]:
    return {"folder": str(written.folder), "files": list(written.settings.files), "store": written.settings.store}


def _row(service: Service) -> dict[str, Any]:
    return {"name": service.name, "state": service.state, "health": service.health or None, "healthy": service.good}


def _addresses(deployment: Deployment) -> dict[str, str]:
    """Where clients of this machine go, and of others where there is TLS."""
    settings = deployment.settings
    found = {
        "broker": f"amqp://127.0.0.1:{settings.broker_port}/panorama/monitoring",
        "collector": f"http://127.0.0.1:{settings.collector_port}/events",
        "dashboard": f"http://127.0.0.1:{settings.dashboard_port}/",
    }
    if settings.tls:
        host = next(iter(settings.hosts), "localhost")
        found["broker_tls"] = f"amqps://{host}:{settings.broker_tls_port}/panorama/monitoring"
        found["collector"] = f"https://{host}:{settings.collector_port}/events"
    return found


def _greet(deployment: Deployment) -> None:
    secrets = deployment.folder / "secrets"
    for name, url in _addresses(deployment).items():
        click.echo(f"{name.replace('_', ' over ').replace('tls', 'TLS'):<19} {url}")
    click.echo(f"for study.yml: monitoring.credentials: {secrets / 'publisher-netrc'}")
    click.echo(f"the dashboard wants #token=TOKEN at its address' end; TOKEN stands in {secrets / 'dashboard-token'}")
