"""Commands: one typed function, called from chats, forms, backends and the shell."""

from zxmpp.commands.call import Call
from zxmpp.commands.chat import ChatFace
from zxmpp.commands.parameters import Parameter
from zxmpp.commands.registry import Command, Commands
from zxmpp.commands.signature import Signature

__all__ = ["Call", "ChatFace", "Command", "Commands", "Parameter", "Signature"]
