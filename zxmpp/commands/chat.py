"""Commands in chats: found in a message, shown as messages.

Rules:
- A command is a new message of somebody: no headline (RFC 6121, 5.2.2), no correction of an earlier
  one (XEP-0308), not what it quotes (XEP-0461).
- A command begins with the prefix; in a room also with the bot's own nick (``bot: echo hi``); in a
  1:1 chat with nothing, if its first word is a command.
- Of an unknown name the caller is told, but in a room only where the bot's nick stood in front: a
  prefix may be for another bot. Without a prefix, what is no command is just talk.
- Tables are sent as preformatted text (XEP-0393), files are uploaded (XEP-0363), progress is one
  message that is corrected, where the caller's client can (XEP-0308).
- Questions are asked one field at a time. Choices are numbered, with quick responses (XEP-0439) in a
  1:1 chat.
"""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ET
from collections.abc import AsyncGenerator, Coroutine
from contextlib import ExitStack, aclosing
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from slixmpp.xmlstream import StanzaBase

from zxmpp.commands.call import Call, Live
from zxmpp.commands.face import Face
from zxmpp.commands.parameters import Parameter
from zxmpp.commands.questions import TRIES, Question, after_nick, is_correction, said_in
from zxmpp.commands.registry import Command, Commands
from zxmpp.commands.results import File, Progress, Table, as_text
from zxmpp.commands.roles import who_of
from zxmpp.commands.words import Line
from zxmpp.errors import Cancelled, Refused, StreamError
from zxmpp.event import HANDLED, Failure, Lifecycle, StanzaEvent
from zxmpp.handlers import FREE, Route
from zxmpp.streams.styling import block

if TYPE_CHECKING:
    from zxmpp.commands.signature import Bound
    from zxmpp.streams.live import Edits

__all__ = ["ChatFace"]

log = logging.getLogger(__name__)

#: XEP-0439
_RESPONSE = "{urn:xmpp:tmp:quick-response}response"


class ChatCall(Call):
    """A message that called a command."""

    face = "chat"

    def __init__(self, event: StanzaEvent, command: Command, text: str) -> None:
        super().__init__(event, command, who_of(event), text)

    def arguments(self) -> Bound:
        return self._command.signature.bind(Line(self.text), self)

    # -- showing ---------------------------------------------------------------------------------

    def present(self, result: Any) -> Any:
        if isinstance(result, CoroutineType):
            return self._awaited(result)
        return _shown(result) if _is_message(result) else self._replies(result)

    async def _awaited(self, work: Coroutine[Any, Any, Any]) -> Any:
        result = await work
        if _is_message(result):
            return _shown(result)
        async with aclosing(self._replies(result)) as replies:
            async for reply in replies:
                self.event.source.answer(self.event, reply)
        return None

    async def _replies(self, result: Any) -> AsyncGenerator[Any, None]:
        """What is to be sent, one after another; files are sent on the way."""
        live: Live | None = None
        with ExitStack() as stack:
            async with aclosing(self.pieces(result)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Progress):
                        if live is None:
                            live = stack.enter_context(self.live())
                        live.show(as_text(piece))
                    elif isinstance(piece, File):
                        try:
                            await self.event.source.send_file(
                                self.event, piece.name, piece.data, piece.type, piece.text
                            )
                        except StreamError as error:
                            self._command.owner.counts["file-not-sent"] += 1
                            log.warning("command %s: %s", self.command, error)
                            yield f"{as_text(piece)}: it can't be sent here."
                    elif live is not None and isinstance(piece, str | Table):
                        live.finish(_shown(piece))
                        live = None
                        stack.close()
                    else:
                        yield _shown(piece)

    def reply(self, piece: Any) -> None:
        if isinstance(piece, File):
            raise TypeError("a file takes its time: yield it, or return it")
        self.event.source.answer(self.event, _shown(piece))

    def live(self, edits: Edits = "auto") -> Live:
        live: Live = self.event.source.live(self.event, edits)
        return live

    def react(self, *emojis: str) -> None:
        self.event.source.react(self.event, *emojis)

    # -- asking ----------------------------------------------------------------------------------

    async def _fill(self, question: Question) -> dict[str, Any]:
        lines = [line for line in (question.title, question.text) if line]
        if len(question.fields) == 1:
            (field,) = question.fields
            if field.title not in lines:
                lines.append(field.title)
            return {field.name: await self._ask(question, field, lines)}
        if lines:
            self.reply("\n".join(lines))
        return {
            each.name: await self._ask(question, each, [each.title]) for each in question.fields
        }

    async def _ask(self, question: Question, field: Parameter, lines: list[str]) -> Any:
        questions = self._command.commands.questions
        words = _words(field)
        text = "\n".join([*lines, *_hints(field, words)])
        about = lines[0] if lines else field.name
        # First: what nobody waits for is not asked.
        with questions.waits(self._command.owner):
            for _ in range(TRIES):
                self._put(text, words)
                answer = await questions.answer(self.event, question.timeout, about)
                try:
                    return _read(field, words, answer)
                except ValueError as error:
                    text = f"{error}. Try again, or say cancel."
        raise Cancelled(f"That was no answer {TRIES} times; cancelled.")

    def _put(self, text: str, words: dict[str, str]) -> None:
        buttons = []
        if not self.room:
            buttons = [ET.Element(_RESPONSE, {"value": word, "label": label})
                       for word, label in words.items()]  # fmt: skip
        self.event.source.respond(self.event, text, buttons)


def _is_message(result: Any) -> bool:
    return result is None or result is HANDLED or isinstance(result, str | Table | StanzaBase)


def _shown(piece: Any) -> Any:
    """What a stream sends for a piece."""
    if isinstance(piece, Table):
        return block(as_text(piece))
    if piece is None or piece is HANDLED or isinstance(piece, StanzaBase):
        return piece
    return as_text(piece)


def _words(field: Parameter) -> dict[str, str]:
    """What may be answered, with what is shown; empty if the answer is free."""
    return {"yes": "yes", "no": "no"} if field.field_type == "boolean" else field.named


def _hints(field: Parameter, words: dict[str, str]) -> list[str]:
    if field.field_type == "boolean":
        return ["(yes or no)"]
    numbers = {word: f"{number}." for number, word in _numbered(words).items()}
    hints = [f"{numbers.get(word, '-')} {label}" for word, label in words.items()]
    if not field.required:
        default = ", ".join(field.words_of(field.fallback))
        hints.append(f"(- for {default!r})" if default else "(- for none)")
    return hints


def _read(field: Parameter, words: dict[str, str], answer: str) -> Any:
    """The value that `answer` is. ValueError says why it is none."""
    text = answer.strip()
    if text == "-" and not field.required and text not in words:
        return field.fallback
    if field.many:
        line, values = Line(text), []
        while (word := line.next()) is not None:
            values.append(field.convert(_chosen(words, word)))
        return values
    return field.convert(_chosen(words, text))


def _chosen(words: dict[str, str], text: str) -> str:
    """The choice that `text` names by its number, by itself, or by what was shown."""
    if text in words:
        return text
    if (word := _numbered(words).get(text)) is not None:
        return word
    return next((word for word, shown in words.items() if shown.lower() == text.lower()), text)


def _numbered(words: dict[str, str]) -> dict[str, str]:
    """The words by their numbers; none has one where a number is another word itself."""
    numbers = {str(number): word for number, word in enumerate(words, 1)}
    mean = [(said, word) for word, shown in words.items() for said in (word, shown)]
    return numbers if all(numbers.get(said, word) == word for said, word in mean) else {}


class ChatFace(Face):
    """Finds commands in messages. `bare` says whether a 1:1 chat needs no prefix."""

    name = "chat"
    inline = True

    def __init__(self, commands: Commands, bare: bool = True) -> None:
        self._commands = commands
        self._prefix = commands.prefix
        self._bare = bare
        pipeline, owner = commands.pipeline, commands.owner
        pipeline.guard(StanzaEvent, commands.questions)
        self._unknown = Route(
            owner, self._answer_unknown, (), name="unknown command", report=self.report
        )
        self._corrected = Route(
            owner, self._answer_corrected, (), name="corrected command", report=self.report
        )
        pipeline.add(Route(owner, commands.questions.left, (("lifecycle", str(Lifecycle.LEFT)),),
                           name="questions in rooms", lane=FREE))  # fmt: skip
        self._route = pipeline.add(
            Route(owner, self._answer_unknown, ("message",), name="commands", select=self._select)
        )

    def call(self, event: StanzaEvent, command: Command) -> ChatCall:
        _, name, rest = self._split(event)
        if name != command.name:
            # It waited in a lane, and meanwhile the room gave the bot another nick.
            raise Refused(f"{command.name} was not called in time; say it again.")
        return ChatCall(event, command, rest)

    def report(self, event: StanzaEvent, failure: Failure) -> str:
        return failure.text

    def _split(self, event: StanzaEvent) -> tuple[bool, str, str]:
        """Whether the bot was spoken to by a prefix or its nick, the command's name, the rest."""
        body = said_in(event)
        if body.startswith(self._prefix):
            called, text = True, body[len(self._prefix) :]
        elif event.room:
            text = after_nick(event, body)
            called = text != body
            if not called:
                return False, "", ""
            text = text.removeprefix(self._prefix)
        elif self._bare:
            called, text = False, body
        else:
            return False, "", ""
        words = text.split(None, 1)
        return called, words[0] if words else "", words[1].strip() if len(words) > 1 else ""

    def _select(self, event: StanzaEvent) -> Route | None:
        called, name, _ = self._split(event)
        if not name or event.type == "headline":
            return None
        command = self._commands.find(name, who_of(event))
        if is_correction(event):
            return self._corrected if called and command is not None else None
        if command is not None:
            return command.route(self)
        if not called or (event.room and said_in(event).startswith(self._prefix)):
            return None
        return self._unknown

    def _answer_corrected(self, event: StanzaEvent) -> None:
        raise Refused("A corrected message calls no command; send it as a new one.")

    def _answer_unknown(self, event: StanzaEvent) -> None:
        raise self._commands.unknown(self._split(event)[1], who_of(event), self._prefix)
