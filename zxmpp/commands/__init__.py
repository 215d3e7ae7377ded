"""Commands: one typed function, called by what people type."""

from zxmpp.commands.call import Call
from zxmpp.commands.registry import Command, Commands
from zxmpp.commands.signature import Parameter, Signature

__all__ = ["Call", "Command", "Commands", "Parameter", "Signature"]
