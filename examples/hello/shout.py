from zxmpp import Plugin, command


class Shout(Plugin):
    """Let a worker process do the work."""

    dependencies = ("workers",)

    @command
    async def shout(self, *, text: str) -> str:
        """Say it louder."""
        answer = await self.plugin("workers").request("jobs", text.encode(), timeout=5)
        return answer[0].decode()
