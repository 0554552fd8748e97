"""The commands with their arguments, options, help and examples, as click has them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click
from _markdown import codes, prose, slug, table

from panorama_driver import cli

_ROOT = "panorama"


def commands(details: set[str]) -> list[str]:
    """A line for each verb, then all of them with what is below them.

    Parameters
    ----------
    details : set of str
        Headings of the page that says more of some.
    """
    group = cli._panorama
    verbs = [(name, _command(group, name)) for name in group.list_commands(click.Context(group))]
    index = table(
        ("command", "what it is for"),
        ((f"[`{_ROOT} {name}`](#{slug(f'{_ROOT} {name}')})", prose(_short(group, name, one))) for name, one in verbs),
    )
    return [*index, *(line for name, one in verbs for line in _told(one, f"{_ROOT} {name}", 2, details))]


def _command(group: click.Group, name: str) -> click.Command:
    command = group.get_command(click.Context(group), name)
    if command is None:
        raise LookupError(f"{group.name} lists {name!r} and does not have it")
    return command


def _short(group: click.Group, name: str, command: click.Command) -> str:
    return cli._VERBS[name] if group is cli._panorama else command.get_short_help_str(200)


def _told(command: click.Command, name: str, level: int, details: set[str]) -> Iterator[str]:
    yield from ("", f"{'#' * level} {name}", "", "```text", _usage(command, name), "```")
    yield from _help(command)
    rows = [_option(one) for one in command.params if isinstance(one, click.Option) and not one.hidden]
    if rows:
        yield from ("", *table(("option", "default", "meaning"), rows))
    if name in details:
        yield from ("", f"More: [{name}](command-details.md#{slug(name)}).")
    if isinstance(command, click.Group):
        for verb in command.list_commands(click.Context(command)):
            yield from _told(_command(command, verb), f"{name} {verb}", level + 1, details)


def _usage(command: click.Command, name: str) -> str:
    return " ".join([name, *command.collect_usage_pieces(click.Context(command))])


def _help(command: click.Command) -> Iterator[str]:
    """The paragraphs of a help text; one that begins with \\b is kept as it is, its heading above it."""
    for paragraph in inspect.cleandoc(command.help or "").partition("\f")[0].split("\n\n"):
        lines = paragraph.strip("\n").splitlines()
        if lines[:1] != ["\b"]:
            yield from ("", prose(paragraph)) if paragraph.strip() else ()
            continue
        head = [lines[1].strip()] if lines[1:] and not lines[1].startswith(" ") else []
        body = inspect.cleandoc("\n".join(["", *lines[1 + len(head) :]]))
        yield from ("", *map(prose, head), *([""] if head else []), *_kept(body))


def _kept(body: str) -> list[str]:
    kind = "sh" if body.startswith((_ROOT, "#", "ssh ", "dakota ")) else "text"
    return [f"```{kind}", *body.splitlines(), "```"] if body else []


def _option(option: click.Option) -> tuple[str, str, str]:
    *short, long = option.opts
    value = "" if option.is_flag or option.count else f" {option.make_metavar(click.Context(click.Command(None)))}"
    spelled = [*short, long + value.removesuffix(" RANGE"), *option.secondary_opts]
    return codes(spelled), _default(option), prose((option.help or "") + (" Required." if option.required else ""))


def _default(option: click.Option) -> str:
    """As `show_default` has it in the command's own help."""
    if isinstance(option.show_default, str):
        return option.show_default
    return codes([str(option.default)]) if option.show_default else ""
