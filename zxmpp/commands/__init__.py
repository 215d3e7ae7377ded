"""Commands: one typed function, called by what people type."""

from zxmpp.commands.call import Call
from zxmpp.commands.registry import Command, Commands
from zxmpp.commands.roles import BROKER, LOCAL, Member, Roles, RoomMember, Who, who_of
from zxmpp.commands.signature import Parameter, Signature

__all__ = [
    "BROKER",
    "LOCAL",
    "Call",
    "Command",
    "Commands",
    "Member",
    "Parameter",
    "Roles",
    "RoomMember",
    "Signature",
    "Who",
    "who_of",
]
