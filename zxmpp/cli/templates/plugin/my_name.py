"""The plugin my-name: see README.md."""

from msgspec import Struct
from zxmpp import Plugin, command

__all__ = ["MyName"]


class MyNameConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """What stands under [plugins.my-name] of a bot."""

    #: What a greeting begins with.
    greeting: str = "Hello"


class MyName(Plugin):
    """What my-name does."""

    name = "my-name"
    Config = MyNameConfig
    config: MyNameConfig

    @command("my-name")
    def greet(self, name: str) -> str:
        """Greet somebody."""
        return f"{self.config.greeting}, {name}!"
