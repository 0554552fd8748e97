"""`panorama render`: the bundle of one parameter set."""

from __future__ import annotations

from pathlib import Path

import click

from ._common import absolute, assignments, inputs_option, json_option, write_json


@click.command("render")
@click.argument("workflow")
@click.option("--set", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter or an option; may be repeated.")
@click.option("--site", default="local", show_default=True, help="Name of a site, or path of a site file.")
@click.option("--var", "variables", multiple=True, metavar="NAME=VALUE", help="A variable of the site file.")
@inputs_option
@click.option("--interval", default="1 s", show_default=True, help="Time between two samples of the probe.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Directory to write.")
@json_option
def command(
    workflow: str,
    pairs: tuple[str, ...],
    site: str,
    variables: tuple[str, ...],
    inputs: tuple[Path, ...],
    interval: str,
    output: Path,
    as_json: bool,
) -> None:
    """Write the bundle of WORKFLOW that the Pegasus planner takes as it is, with monitoring enabled.

    \b
    Examples:
      panorama render sns_nanodiamond --set q_h=0.42 --site condorpool -o bundle
      cd bundle && pegasus-em submit nightly.run42 ./plan.sh
    """
    import msgspec

    from ..config import Monitoring, duration
    from ..errors import StudyError
    from ..render import find_site, find_workflow, render

    folder = find_workflow(workflow, Path())
    parameters, options = folder.split(assignments(pairs))
    try:
        duration(interval)
    except ValueError as problem:
        raise StudyError(f"--interval: {problem}") from None
    where = find_site(site, Path(), assignments(variables))
    bundle = render(folder, where, parameters, options, output, Monitoring(interval=interval), inputs=absolute(inputs))
    if as_json:
        write_json(msgspec.to_builtins(bundle))
        return
    click.echo(f"{output}: {bundle.workflow} for site {bundle.site}")
    for name, program in bundle.programs.items():
        click.echo(f"  {name}: {program}")
    click.echo(f"next:  {output}/plan.sh  plans it with Pegasus")
