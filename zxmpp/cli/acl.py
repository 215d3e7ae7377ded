"""``zxmpp acl explain``: whether somebody may use a command, and why.

Rules:
- The same code answers as in a bot that runs; nothing is started.
- Exit status: 0 yes, 1 no, 2 an argument or the configuration is wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zxmpp.errors import ConfigError

if TYPE_CHECKING:
    from slixmpp import JID

    from zxmpp.commands import Who

__all__ = ["acl"]

acl = typer.Typer(help="Who may do what.", no_args_is_help=True)


@acl.callback()
def _group() -> None:
    """Who may do what."""


@acl.command()
def explain(
    jid: Annotated[str, typer.Argument(metavar="JID", help="Who asks; @local, @broker.")],
    command: Annotated[str, typer.Argument(help="The command's name, without the prefix.")],
    room: Annotated[str, typer.Option(metavar="JID", help="The room where it is asked.")] = "",
    affiliation: Annotated[
        str, typer.Option(help="The affiliation that the room gives: owner, admin or member.")
    ] = "",
    occupant_id: Annotated[
        str, typer.Option(metavar="ID", help="The occupant id that the room gives (XEP-0421).")
    ] = "",
    config: Annotated[Path, typer.Option(help="The bot's TOML file.")] = Path("bot.toml"),
) -> None:
    """Say whether somebody may use a command of a bot, and by which entry of [roles].

    Exit status: 0 yes; 1 no; 2 an argument or the configuration is wrong.
    """
    from zxmpp.cli.check import good
    from zxmpp.commands import Roles
    from zxmpp.config import near

    checked = good(config, secrets=False)
    who = _who(jid, room, affiliation, occupant_id)
    name = command.removeprefix(checked.settings.commands.prefix)
    if name not in checked.commands:
        raise ConfigError(f"{config}: no command {name!r}; {near(name, sorted(checked.commands))}")
    role = checked.commands[name]
    if role:
        answer = Roles(checked.settings.roles).explain(who, role)
    else:
        answer = f"yes: {name} is for everybody: it names no role"
    typer.echo(answer)
    raise typer.Exit(0 if answer.startswith("yes") else 1)


def _who(jid: str, room: str, affiliation: str, occupant_id: str) -> Who:
    """The arguments as the bot would see them. ConfigError says which is wrong."""
    from zxmpp.commands import BROKER, LOCAL, RoomMember, Who

    if (affiliation or occupant_id) and not room:
        raise ConfigError(
            "--affiliation and --occupant-id are what a room says: name it with --room"
        )
    try:
        if affiliation:
            RoomMember(room, affiliation)
        room = RoomMember(room, "member").room if room else ""
    except ValueError as error:
        raise ConfigError(f"--{error}") from None
    if jid in (LOCAL, BROKER):
        return Who(jid)
    asks = _jid(jid)
    # The JID of an occupant whose real one the room hides; else the resource means nothing.
    sender = asks.full if room and asks.bare == room else asks.bare
    return Who(str(sender), room, affiliation, occupant_id)


def _jid(text: str) -> JID:
    from slixmpp.jid import JID, InvalidJID

    try:
        if text:
            return JID(text)
    except InvalidJID:
        pass
    raise ConfigError(f"{text!r} is not a JID such as alice@example.org")
