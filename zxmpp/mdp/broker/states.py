"""What a request and a worker go through, as tables; the broker asks them before it moves anything.

Rules:
- A request ends exactly once. What comes for one that has ended changes nothing and is counted.
- A worker is REGISTERED between its READY and its end. What it says at another time is answered as
  the table has it (RFC 7 and 18, "Opening and closing a connection").
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from zxmpp.mdp.messages import Command

__all__ = ["MOVES", "REACTIONS", "IllegalMove", "Move", "Reaction", "RequestState", "WorkerState"]


class RequestState(StrEnum):
    """Where a request is."""

    QUEUED = "queued"  #: waits for a worker
    HELD = "held"  #: a worker has it
    ENDED = "ended"  #: answered, or given up by name


class Move(StrEnum):
    """What can happen to a request."""

    DISPATCH = "dispatch"  #: a worker gets it
    HAND_BACK = "hand-back"  #: its worker is gone, or did not begin it
    END = "end"  #: an answer, a time-out, a cancellation, too many attempts


#: From where, by what, to where. What is not here is a bug of the broker.
MOVES: Final = {
    (RequestState.QUEUED, Move.DISPATCH): RequestState.HELD,
    (RequestState.QUEUED, Move.END): RequestState.ENDED,
    (RequestState.HELD, Move.HAND_BACK): RequestState.QUEUED,
    (RequestState.HELD, Move.END): RequestState.ENDED,
}


class IllegalMove(AssertionError):
    """A request was to be moved from where it can't: a bug of the broker."""


class WorkerState(StrEnum):
    """What a peer is to the broker."""

    UNKNOWN = "unknown"  #: nothing, or no longer a worker
    REGISTERED = "registered"  #: it said READY


class Reaction(StrEnum):
    """What the broker does with what a worker said."""

    REGISTER = "register"  #: a new worker
    TAKE_ANSWER = "take-answer"  #: if it holds the request; else as UNEXPECTED
    TAKE_BACK = "take-back"  #: the same for what it did not begin
    REFRESH = "refresh"  #: a sign of life, no more
    SET_CREDIT = "set-credit"  #: it holds more or fewer from now on
    FORGET = "forget"  #: it is gone; what it held goes to others
    UNEXPECTED = "unexpected"  #: valid but out of place: DISCONNECT, and forget it
    IGNORE = "ignore"  #: nothing


#: State and command to reaction.
REACTIONS: Final = {
    (WorkerState.UNKNOWN, Command.READY): Reaction.REGISTER,
    (WorkerState.UNKNOWN, Command.PARTIAL): Reaction.UNEXPECTED,
    (WorkerState.UNKNOWN, Command.FINAL): Reaction.UNEXPECTED,
    (WorkerState.UNKNOWN, Command.RETURN): Reaction.UNEXPECTED,
    (WorkerState.UNKNOWN, Command.CREDIT): Reaction.UNEXPECTED,
    (WorkerState.UNKNOWN, Command.HEARTBEAT): Reaction.UNEXPECTED,
    (WorkerState.UNKNOWN, Command.DISCONNECT): Reaction.IGNORE,
    (WorkerState.REGISTERED, Command.READY): Reaction.UNEXPECTED,
    (WorkerState.REGISTERED, Command.PARTIAL): Reaction.TAKE_ANSWER,
    (WorkerState.REGISTERED, Command.FINAL): Reaction.TAKE_ANSWER,
    (WorkerState.REGISTERED, Command.RETURN): Reaction.TAKE_BACK,
    (WorkerState.REGISTERED, Command.CREDIT): Reaction.SET_CREDIT,
    (WorkerState.REGISTERED, Command.HEARTBEAT): Reaction.REFRESH,
    (WorkerState.REGISTERED, Command.DISCONNECT): Reaction.FORGET,
}
