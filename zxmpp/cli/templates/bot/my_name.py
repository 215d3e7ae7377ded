"""The bot's own plugin: a command, and what a script tells it."""

from msgspec import Struct
from zxmpp import FramesEvent, Plugin, command, on


class MyNameConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """What stands under [plugins.my-name] in bot.toml."""

    #: What a greeting begins with.
    greeting: str = "Hello"
    #: Who is told of alerts: a person, or a room that the bot is in. Empty: nobody.
    tell: str = ""


class MyName(Plugin):
    """What my-name does."""

    Config = MyNameConfig
    config: MyNameConfig

    @command
    def hello(self, name: str) -> str:
        """Greet somebody."""
        return f"{self.config.greeting}, {name}!"

    @on.frames("alerts")
    def alert(self, event: FramesEvent) -> None:
        """What comes in at [sockets.alerts] goes to `tell`."""
        if self.config.tell:
            self.say(self.config.tell, event.frames[0].decode(errors="replace"))
