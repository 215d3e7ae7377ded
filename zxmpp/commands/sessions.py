"""Sessions of ad-hoc commands (XEP-0050): who is where in which command.

Rules:
- A session belongs to the full JID that began it, on its stream, and to the identity that was
  verified then. With anybody else its id is as good as an unknown one.
- Each IQ of a session gets one answer. Work that takes longer than `PATIENCE` is answered with how
  far it is, and what it finds is kept for the next look.
- Where no handler waits, a session ends when nobody has come back for `EXPIRY`; where one does, by
  that handler's own limits.
- Sessions are bounded: for each full JID, for each bare JID, and in all. Some are kept for those who
  hold a role: strangers can't take all. None holds on to a plugin.
"""

from __future__ import annotations

import asyncio
import secrets
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

from zxmpp.commands.forms import Results, command_xml, form_xml, note_xml
from zxmpp.commands.questions import Question
from zxmpp.commands.registry import Command
from zxmpp.commands.roles import who_of
from zxmpp.errors import Cancelled, Refused
from zxmpp.event import StanzaEvent

__all__ = ["Session", "Sessions", "State"]

#: Sessions of one full JID, of one bare JID, and of all.
PER_JID, PER_PERSON, IN_ALL = 5, 10, 1000
#: More of them, for those who hold a role.
KEPT = 100
#: Seconds without a next step until a session ends.
EXPIRY = 300.0
#: Seconds that an IQ waits for work to end. Clients give up after 30 or more.
PATIENCE = 10.0


class State(Enum):
    """Where a session is."""

    FORM = "the command's parameters are asked"
    RUNNING = "the command runs, or asks"
    DONE = "it has ended, which nobody was told yet"
    CLOSED = "it is over"


class Session:
    """One caller's way through one command."""

    def __init__(self, sessions: Sessions, event: StanzaEvent, name: str) -> None:
        self.id = secrets.token_urlsafe(18)
        self.name = name
        self.state = State.FORM
        self.stream = event.source.name
        self.jid = event.from_
        self.results = Results()
        #: How far the work is.
        self.progress = ""
        self._who = _identity(event)
        self._sessions = sessions
        self._loop = asyncio.get_running_loop()
        #: The IQ that is to be answered.
        self._waiting: Any = None
        #: What the next IQ is answered with.
        self._kept: ET.Element | None = None
        #: What the handler asked.
        self._answer: asyncio.Future[Mapping[str, Sequence[str]]] | None = None
        #: Ends the handler's work early.
        self._limit: asyncio.Timeout | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._touch()

    def _touch(self) -> None:
        self._expires = self._loop.time() + EXPIRY

    @property
    def expired(self) -> bool:
        """Whether nobody came back in time."""
        return self.state is not State.RUNNING and self._loop.time() >= self._expires

    @property
    def bare(self) -> str:
        """The verified bare JID, by which sessions of one person are counted."""
        return self._who[0]

    @property
    def busy(self) -> bool:
        """Whether an IQ waits for its answer."""
        return self._waiting is not None

    def is_of(self, event: StanzaEvent) -> bool:
        """Whether whoever sent `event` began this session."""
        return (
            event.from_ == self.jid
            and event.source.name == self.stream
            and _identity(event) == self._who
        )

    # -- IQs and their answers -------------------------------------------------------------------

    def take(self, event: StanzaEvent) -> None:
        """Answer `event` when there is an answer."""
        self._waiting = event
        if self._kept is not None:
            kept, self._kept = self._kept, None
            self._say(kept)
        else:
            self._timer = self._loop.call_later(PATIENCE, self._still_at_work)

    def go_on(self, event: StanzaEvent, values: Mapping[str, Sequence[str]]) -> None:
        """The next step."""
        if self._answer is not None and not self._answer.done() and self._kept is None:
            self._answer.set_result(values)
        self.take(event)

    def _say(self, payload: ET.Element) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        event, self._waiting = self._waiting, None
        self._touch()
        if event is None:
            self._kept = payload
            return
        if self.state is State.DONE:
            self._close()
        event.source.result(event, payload)

    def _status(
        self, status: str, children: Iterable[ET.Element] = (), actions: Sequence[str] = ()
    ) -> ET.Element:
        return command_xml(self.name, self.id, status, children, actions)

    def _still_at_work(self) -> None:
        note = note_xml(f"Still at work. {self.progress}".rstrip())
        self._say(self._status("executing", [note], ["next"]))

    # -- asking ----------------------------------------------------------------------------------

    def ask_parameters(
        self, command: Command, given: Mapping[str, Sequence[str]] | None = None, wrong: str = ""
    ) -> None:
        """Ask for what `command` takes; `wrong` says what was wrong with what was `given`."""
        parameters = command.signature.parameters
        known = {each.name for each in parameters}
        # What the docstring says of a parameter stands beside its field.
        lines = [
            line
            for line in command.help.splitlines()[1:]
            if line.strip().removeprefix(":param ").partition(": ")[0] not in known
        ]
        title = command.summary or command.name
        form = form_xml(parameters, title, "\n".join(lines).strip(), given)
        notes = [note_xml(wrong, "error")] if wrong else []
        self._say(self._status("executing", [form, *notes], ["complete"]))

    async def ask(
        self, question: Question, given: Mapping[str, Sequence[str]] | None, wrong: str
    ) -> Mapping[str, Sequence[str]]:
        """Put `question`, and wait for what the fields are filled in with."""
        if self.state is State.CLOSED:
            raise Cancelled("Whoever was asked has left.")
        notes, self.results = self.results.notes(), Results()
        if wrong:
            notes.append(note_xml(wrong, "error"))
        # What stands beside the only field is not said twice.
        alone = len(question.fields) == 1 and question.fields[0].title == question.text
        form = form_xml(
            question.fields, question.title or self.name, "" if alone else question.text, given
        )
        self._answer = self._loop.create_future()
        self._say(self._status("executing", [form, *notes], ["next"]))
        try:
            return await self._answer
        finally:
            self._answer = self._kept = None

    # -- the end ---------------------------------------------------------------------------------

    def limit(self) -> asyncio.Timeout:
        """What the work runs in."""
        self._limit = asyncio.timeout(None)
        return self._limit

    @property
    def stopped(self) -> bool:
        """Whether the work was ended because the caller wants it so."""
        return self._limit is not None and self._limit.expired()

    def finish(self) -> None:
        """The command has ended well."""
        self._end([])

    def fail(self, text: str) -> None:
        """The command has ended with a failure."""
        self._end([note_xml(text, "error")])

    def _end(self, notes: list[ET.Element]) -> None:
        self._limit = None
        if self.state is not State.CLOSED:
            self.state = State.DONE
            self._say(self._status("completed", [*self.results.xml(), *notes]))

    def cancel(self, event: StanzaEvent) -> None:
        """The caller wants no more, and said so with `event`."""
        payload = self._status("canceled")
        self.state = State.DONE
        if self._waiting is not None:
            self._say(payload)
        self._waiting, self._kept = event, None
        self._say(payload)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Cancelled("Cancelled."))
        elif self._limit is not None:
            self._limit.reschedule(self._loop.time())

    def drop(self, why: str) -> None:
        """The caller is gone: `why`. Work goes on to its end, a question does not wait."""
        if self._waiting is not None:
            self.state = State.DONE
            self._say(self._status("completed", [note_xml(why, "error")]))
        self._close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Cancelled(why))

    def _close(self) -> None:
        self.state = State.CLOSED
        self._kept = None
        if self._timer is not None:
            self._timer.cancel()
        self._sessions.forget(self)


def _identity(event: StanzaEvent) -> tuple[str, str]:
    who = who_of(event)
    return who.sender, who.occupant_id


class Sessions:
    """The sessions of an app, by id. What is refused or ends by itself is added to `counts`."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._by_id: dict[str, Session] = {}
        self._of_jid: Counter[str] = Counter()
        self._of_person: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, id: str, event: StanzaEvent) -> Session | None:
        """The session `id`, if it belongs to whoever sent `event`."""
        session = self._by_id.get(id)
        if session is None or session.expired or not session.is_of(event):
            return None
        return session

    def open(self, event: StanzaEvent, name: str, trusted: bool = False) -> Session:
        """A new session in the command `name`; `trusted` holds a role. Refused if there are too
        many."""
        session = Session(self, event, name)
        if (
            self._of_jid[session.jid] >= PER_JID
            or self._of_person[session.bare] >= PER_PERSON
            or len(self._by_id) >= IN_ALL + (KEPT if trusted else 0)
        ):
            self._counts["sessions-full"] += 1
            self._trim(session)
            text = "Too many commands are open; finish or cancel one, or try again later."
            raise Refused(text, "resource-constraint", "wait")
        self._by_id[session.id] = session
        self._of_jid[session.jid] += 1
        self._of_person[session.bare] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EXPIRY / 4, self._expire)
        return session

    def forget(self, session: Session) -> None:
        """`session` is over. Idempotent."""
        if self._by_id.pop(session.id, None) is not None:
            self._of_jid[session.jid] -= 1
            self._of_person[session.bare] -= 1
            self._trim(session)
        if not self._by_id and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _trim(self, session: Session) -> None:
        for counter, key in ((self._of_jid, session.jid), (self._of_person, session.bare)):
            if not counter[key]:
                del counter[key]

    def drop(self, stream: str, why: str, jid: str = "") -> None:
        """Whoever was there on `stream` (only `jid`, if it is given) is gone."""
        if jid and jid not in self._of_jid:
            return
        for session in list(self._by_id.values()):
            if session.stream == stream and jid in ("", session.jid):
                session.drop(why)

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for session in list(self._by_id.values()):
            if session.expired:
                self._counts["session-expired"] += 1
                session.drop("It took too long.")
        if self._by_id:
            self._timer = loop.call_later(EXPIRY / 4, self._expire)
