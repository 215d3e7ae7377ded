"""The Majordomo broker as a core without I/O: frames, identities and a clock in, frames out."""

from __future__ import annotations

from zxmpp.mdp.broker.core import Broker, Complaint, Delivery
from zxmpp.mdp.broker.errands import House
from zxmpp.mdp.broker.memory import DeadLetter
from zxmpp.mdp.broker.options import BrokerOptions
from zxmpp.mdp.broker.records import Request
from zxmpp.mdp.broker.states import RequestState

__all__ = [
    "Broker", "BrokerOptions", "Complaint", "DeadLetter", "Delivery", "House", "Request",
    "RequestState",
]  # fmt: skip
