"""Who may invite the bot into a room.

Rules:
- Nobody, unless ``[commands] invitations`` names a role: then its members, where it is certain who
  invites (see `zxmpp.streams.reading.Invitation`).
- Everybody else gets no answer: not even that there is such a role.
- Plugins hear of all invitations all the same, by `on.invitation`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from zxmpp.commands.roles import Roles, Who, who_of
from zxmpp.errors import StreamError
from zxmpp.event import StanzaEvent
from zxmpp.handlers import Route
from zxmpp.pipeline import Pipeline
from zxmpp.streams import BaseStream
from zxmpp.streams.reading import Invitation

__all__ = ["Invitations"]

log = logging.getLogger(__name__)


class Invitations:
    """Follows invitations of those who hold `role`; `stream` finds the stream of a name."""

    def __init__(
        self, pipeline: Pipeline, roles: Roles, role: str, stream: Callable[[str], BaseStream]
    ) -> None:
        self._roles = roles
        self._role = role
        self._stream = stream
        self._owner = pipeline.owner("invitations")
        pipeline.add(
            Route(self._owner, self._take, (("message", "invitation"),), name="invitations")
        )

    def _take(self, event: StanzaEvent) -> None:
        invitation = Invitation.of(event)
        direct = invitation.inviter == event.sender
        who = who_of(event) if direct else Who(invitation.inviter)
        allowed = invitation.verified and self._roles.holds(who, self._role)
        if not allowed or not invitation.room:
            self._owner.counts["invitation-refused"] += 1
            return
        stream = self._stream(event.source.name)
        try:
            stream.join(
                invitation.room, password=invitation.password, bookmark=stream.keeps_bookmarks
            )
        except StreamError as error:
            self._owner.counts["invitation-refused"] += 1
            log.warning("the invitation of %s is not followed: %s", invitation.inviter, error)
            return
        self._owner.counts["invitation-followed"] += 1
        log.info("invited to %s by %s", invitation.room, invitation.inviter)
