"""bot.py JID TO [HOST PORT]: a plain slixmpp bot; what is pushed to its socket, it tells TO."""

import os
import sys

import slixmpp


class Bot(slixmpp.ClientXMPP):
    def __init__(self, jid: str, password: str, to: str) -> None:
        super().__init__(jid, password)
        self.to = to
        self.register_plugin("zmq", module="zxmpp.slixmpp_plugin")
        self.add_event_handler("zmq::alerts", self.on_alert)
        self.add_event_handler("session_start", self.on_start)
        self.add_event_handler("message", self.on_message)

    def on_start(self, _: object) -> None:
        self.send_presence()
        if "alerts" not in self.plugin["zmq"].sockets:  # a session may start more than once
            self.plugin["zmq"].open("alerts", type="PULL", bind="tcp://127.0.0.1:5556")
        print(f"online as {self.boundjid}", flush=True)

    def on_alert(self, frames: list[bytes]) -> None:
        self.send_message(mto=self.to, mbody=frames[0].decode(errors="replace"), mtype="chat")

    def on_message(self, message: slixmpp.Message) -> None:
        if message["type"] == "chat" and message["body"] == "hello":
            message.reply("Hello! I bring alerts.").send()


if __name__ == "__main__":
    jid, to, *server = sys.argv[1:]
    bot = Bot(jid, os.environ["BOT_PASSWORD"], to)
    bot.connect(*server)
    bot.loop.run_until_complete(bot.disconnected)
