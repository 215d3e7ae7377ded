"""A vote that is open: what is asked, and who has said what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct, field

from zxmpp import Table
from zxmpp_plugins.places import Place

__all__ = ["KEYS", "Poll"]

#: What one reacts with: the first ten numbers as emojis.
KEYS = [*(f"{number}\ufe0f\u20e3" for number in range(1, 10)), "\U0001f51f"]


class Poll(Struct, eq=False):
    """An open vote."""

    place: Place
    opener: str
    question: str
    options: Sequence[str]
    #: The loop's time when it closes.
    ends: float
    #: The number of an option, from 0, by who voted.
    votes: dict[str, int] = field(default_factory=dict)
    #: The id that the room gave the bot's message.
    reference: str = ""

    def lines(self) -> list[str]:
        """The question and the options."""
        named = zip(KEYS, self.options, strict=False)
        return [self.question, *(f"{key} {option}" for key, option in named)]

    def table(self) -> Table:
        """How it stands."""
        votes = list(self.votes.values())
        rows = [
            (number, option, votes.count(number - 1))
            for number, option in enumerate(self.options, 1)
        ]
        return Table(("number", "option", "votes"), rows, self.question)

    def option_of(self, emojis: Iterable[str]) -> int | None:
        """The option, from 0, that the first number among `emojis` is."""
        # Some clients leave the variation selector out.
        keys = [key.replace("\ufe0f", "") for key in KEYS[: len(self.options)]]
        found = (each.replace("\ufe0f", "") for each in emojis)
        return next((keys.index(each) for each in found if each in keys), None)
