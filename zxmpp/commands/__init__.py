"""Commands: one typed function, called from chats, forms, backends and the shell."""

from zxmpp.commands.adhoc import AdhocFace
from zxmpp.commands.call import Call
from zxmpp.commands.chat import ChatFace
from zxmpp.commands.local import LocalFace
from zxmpp.commands.parameters import Parameter
from zxmpp.commands.registry import Command, Commands
from zxmpp.commands.roles import BROKER, LOCAL, Member, Roles, RoomMember, Who, who_of
from zxmpp.commands.service import ServiceFace
from zxmpp.commands.signature import Signature

__all__ = [
    "BROKER",
    "LOCAL",
    "AdhocFace",
    "Call",
    "ChatFace",
    "Command",
    "Commands",
    "LocalFace",
    "Member",
    "Parameter",
    "Roles",
    "RoomMember",
    "ServiceFace",
    "Signature",
    "Who",
    "who_of",
]
