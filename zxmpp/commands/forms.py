"""Ad-hoc commands as XML (XEP-0050): what is asked as a form (XEP-0004), what was found as a result.

Rules:
- Each text is cleaned of what XML can't hold.
- A result is bounded by what servers take in one stanza: what is too long is cut, and a note says so.
- A text is a note, which all clients show; one that a note has no room for is a field as well. A
  table is a table, a file its URL.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal
from xml.sax.saxutils import escape

from zxmpp.commands.parameters import Parameter
from zxmpp.commands.results import File, Image, Table, as_text
from zxmpp.event import StanzaEvent
from zxmpp.streams.writing import clean_text

__all__ = ["COMMANDS", "DATA", "GO_ON", "Request", "Results", "command_xml", "form_xml", "note_xml"]

#: XEP-0050
COMMANDS = "http://jabber.org/protocol/commands"
#: XEP-0004
DATA = "jabber:x:data"
#: XEP-0122 and XEP-0221
_VALIDATE = "http://jabber.org/protocol/xdata-validate"
_MEDIA = "urn:xmpp:media-element"

#: The most bytes of a result, and of what a form gives back that was wrong.
MAX_BYTES = 60_000
#: Characters of a text that is a note and nothing else.
SHORT = 200
#: Bytes of one character in XML, at most, and of an element without its texts, as a rule.
_CHARACTER, _ELEMENT = 6, 32
#: Actions that go on to whatever comes next.
GO_ON = frozenset({"execute", "next", "complete"})

Note = Literal["info", "warn", "error"]


class Request:
    """What an IQ asks: the command, the session and the action in it."""

    __slots__ = ("action", "id", "name", "submits", "xml")

    def __init__(self, event: StanzaEvent) -> None:
        self.xml = event.stanza.xml[0]
        self.name: str = self.xml.get("node", "")
        self.id: str = self.xml.get("sessionid", "")
        self.action: str = self.xml.get("action", "execute")
        form = self.xml.find(f"{{{DATA}}}x")
        #: Whether there is a form that is filled in.
        self.submits = form is not None and form.get("type", "submit") == "submit"
        if form is not None and form.get("type") == "cancel":
            self.action = "cancel"

    @property
    def goes_on(self) -> bool:
        """Whether it is one of `GO_ON`."""
        return self.action in GO_ON

    def values(self) -> dict[str, list[str]]:
        """The values of each field."""
        return {
            field.get("var", ""): [value.text or "" for value in field.iter(f"{{{DATA}}}value")]
            for field in self.xml.iterfind(f"{{{DATA}}}x/{{{DATA}}}field")
        }


def _add(parent: ET.Element, name: str, text: str = "", **attributes: str) -> ET.Element:
    """A child of `parent`, in its namespace."""
    tag = parent.tag.partition("}")[0] + "}" + name
    child = ET.SubElement(
        parent, tag, {key: clean_text(value) for key, value in attributes.items()}
    )
    if text:
        child.text = clean_text(text)
    return child


def note_xml(text: str, kind: Note = "info") -> ET.Element:
    """A note. What is longer than a result may be is cut."""
    note = ET.Element(f"{{{COMMANDS}}}note", {"type": kind})
    note.text = clean_text(text[: MAX_BYTES // _CHARACTER])
    return note


def command_xml(
    name: str, id: str, status: str, children: Iterable[ET.Element] = (),
    actions: Sequence[str] = (),
) -> ET.Element:  # fmt: skip
    """The answer to a `Request`. The first of `actions` is what ``execute`` means."""
    command = ET.Element(f"{{{COMMANDS}}}command")
    command.attrib.update(node=clean_text(name), sessionid=id, status=status)
    if actions:
        allowed = _add(command, "actions", execute=actions[0])
        for action in actions:
            _add(allowed, action)
    command.extend(children)
    return command


def form_xml(
    fields: Iterable[Parameter], title: str = "", instructions: str = "",
    given: Mapping[str, Sequence[str]] | None = None,
) -> ET.Element:  # fmt: skip
    """A form to fill in. What was `given` before is in it, else the defaults."""
    form = ET.Element(f"{{{DATA}}}x", {"type": "form"})
    if title:
        _add(form, "title", title)
    for line in instructions.splitlines():
        _add(form, "instructions", line)
    room = MAX_BYTES
    for parameter in fields:
        field = _add(form, "field", var=parameter.name, type=parameter.field_type,
                     label=parameter.title)  # fmt: skip
        if parameter.required:
            _add(field, "required")
        if parameter.datatype:
            validate = ET.SubElement(
                field, f"{{{_VALIDATE}}}validate", {"datatype": parameter.datatype}
            )
            _add(validate, "basic")
        values = parameter.words_of(parameter.fallback)
        if given is not None and parameter.name in given:
            length = sum(len(value) + 1 for value in given[parameter.name]) * _CHARACTER
            if length <= room:
                room -= length
                values = list(given[parameter.name])
        if parameter.field_type == "text-multi":
            values = [line for value in values for line in value.split("\n")]
        for value in values:
            _add(field, "value", value)
        if parameter.field_type.startswith("list-"):
            for value, label in parameter.named.items():
                _add(_add(field, "option", label=label or value), "value", value)
    return form


class Results:
    """What a command shows, piece by piece."""

    def __init__(self) -> None:
        #: Whether something was too long.
        self.cut = False
        self._room = MAX_BYTES
        self._notes: list[ET.Element] = []
        self._fields: list[ET.Element] = []
        self._table: list[ET.Element] = []
        self._title = ""

    def text(self, text: str, kind: Note = "info") -> None:
        """A text of any length."""
        if "\n" in text.rstrip() or len(text) > SHORT:
            text = self._shortened(text)
            self._field("text", "", text.splitlines(), "text-multi")
            if _size(text) > self._room:
                text = text[:SHORT].partition("\n")[0] + " ..."
        self._keep(self._notes, note_xml(text, kind))

    def table(self, table: Table) -> None:
        """The first one is the form's; any more are text."""
        if self._table:
            self._field("table", table.title, table.lines(), "text-multi")
            return
        self._title = table.title
        reported = ET.Element(f"{{{DATA}}}reported")
        names: list[str] = []
        for column in table.columns:
            name = column if column and column not in names else f"{column}-{len(names) + 1}"
            names.append(name)
            _add(reported, "field", var=name, type="text-single", label=column)
        self._keep(self._table, reported)
        for row in table.rows:
            item = ET.Element(f"{{{DATA}}}item")
            for name, value in zip(names, row, strict=True):
                text = "" if value is None else str(value)
                _add(_add(item, "field", var=name), "value", text)
            if not self._keep(self._table, item):
                break

    def file(self, file: File, url: str) -> None:
        """A file that is at `url`."""
        self.text(f"{file.text}\n{url}" if file.text else url)
        field = self._field("image" if isinstance(file, Image) else "file", file.name, [url])
        media = ET.SubElement(field, f"{{{_MEDIA}}}media")
        _add(media, "uri", url, type=file.type)

    def xml(self) -> list[ET.Element]:
        """All of it."""
        found = list(self._notes)
        if self.cut:
            found.append(note_xml("It was too long: the rest is left out.", "warn"))
        if self._table or self._fields:
            form = ET.Element(f"{{{DATA}}}x", {"type": "result"})
            if self._title:
                _add(form, "title", self._title)
            form.extend([*self._table, *self._fields])
            found.append(form)
        return found

    def notes(self) -> list[ET.Element]:
        """All of it as notes, to go with a form that asks."""
        found = list(self._notes)
        if self._table:
            columns = [field.get("label", "") for field in self._table[0]]
            rows = [["".join(field.itertext()) for field in item] for item in self._table[1:]]
            found.append(note_xml(as_text(Table(columns, rows, self._title))))
        return found

    def _field(
        self, name: str, label: str, values: Iterable[str], type: str = "text-single"
    ) -> ET.Element:
        same = sum(field.get("var", "").partition("-")[0] == name for field in self._fields)
        field = ET.Element(f"{{{DATA}}}field", {"var": f"{name}-{same + 1}" if same else name})
        field.attrib.update(type=type, label=clean_text(label or name.capitalize()))
        for value in values:
            _add(field, "value", value)
        self._keep(self._fields, field)
        return field

    def _shortened(self, text: str) -> str:
        """As much of `text` as there is room for."""
        lines = text.count("\n") + 1
        if _size(text) + _ELEMENT * lines <= self._room:
            return text
        self.cut = True
        short, size = [], 0
        for line in text.split("\n"):
            size += _size(line) + _ELEMENT
            if size > self._room:
                short.append(line[: max(0, self._room - size + _size(line)) // _CHARACTER])
                break
            short.append(line)
        return "\n".join(short)

    def _keep(self, among: list[ET.Element], element: ET.Element) -> bool:
        """Whether there is room for one more."""
        size = sum(_ELEMENT + _size("".join(each.attrib.values())) + _size(each.text or "")
                   for each in element.iter())  # fmt: skip
        if size > self._room:
            self.cut = True
            return False
        self._room -= size
        among.append(element)
        return True


def _size(text: str) -> int:
    """Bytes of `text` in XML."""
    return len(escape(text, {'"': "&quot;"}).encode())
