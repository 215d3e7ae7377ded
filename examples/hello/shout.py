from zxmpp import Plugin, command


class Shout(Plugin):
    """Let a worker process do the work."""

    @command
    async def shout(self, *, text: str) -> str:
        """Say it louder."""
        return await self.service("shout").request(text, result=str, timeout=5)
