"""What an asker may meet instead of an answer, as types.

Rules:
- The text is for whoever asked, a person in a chat too: it names the service and the remedy.
- `reason` is the broker's or the worker's own short name, as it is counted.
"""

from __future__ import annotations

from zxmpp.errors import Refused
from zxmpp.mdp.messages import Problem

__all__ = ["BadAnswer", "NoAnswer", "NoAnswerInTime", "no_answer"]


class NoAnswer(Refused):
    """A request ended without an answer; `reason` says why, see docs/howto/services.md."""

    def __init__(
        self, text: str, reason: str, condition: str = "remote-server-timeout", kind: str = "wait"
    ) -> None:
        super().__init__(text, condition, kind)
        self.reason = reason


class NoAnswerInTime(NoAnswer, TimeoutError):
    """Its time was over."""


class BadAnswer(NoAnswer):
    """There is an answer, and it is not what was asked for."""

    def __init__(self, text: str) -> None:
        super().__init__(text, "bad-answer", "undefined-condition", "cancel")


#: Reason -> text, stanza error condition, type (RFC 6120, 8.3.3). {0} is the service, {1} what the
#: problem's own text adds.
_REASONS = {
    "timeout": ("{0}: no answer in time; try again later.", "remote-server-timeout", "wait"),
    "cancelled": ("{0}: cancelled.", "undefined-condition", "cancel"),
    "asker-gone": ("{0}: cancelled, since the asker is gone.", "undefined-condition", "cancel"),
    "dead-letter": ("{0}: given up; {1}.", "internal-server-error", "cancel"),
    "queue-full": ("{0}: {1}.", "resource-constraint", "wait"),
    "broker-full": ("{0}: {1}.", "resource-constraint", "wait"),
    "too-slow": ("{0}: {1}.", "resource-constraint", "cancel"),
    "stopping": ("{0}: {1}.", "service-unavailable", "wait"),
    "interrupted": ("{0}: {1}; ask again.", "remote-server-timeout", "wait"),
    "refused": ("{1}", "not-acceptable", "modify"),
}


def no_answer(service: str, problem: Problem, timeout: float | None = None) -> NoAnswer:
    """The exception for `problem` of a request to `service`."""
    if problem.condition == "timeout" and timeout is not None:
        text = f"{service}: no answer within {timeout:g} s; try again later."
        return NoAnswerInTime(text, "timeout")
    text, condition, kind = _REASONS.get(
        problem.condition, ("{0}: {1}", "internal-server-error", "cancel")
    )
    text = text.format(service, problem.text or problem.condition)
    cls = NoAnswerInTime if problem.condition == "timeout" else NoAnswer
    return cls(text, problem.condition, condition, kind)
