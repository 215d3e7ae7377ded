"""The fixed conversation: each answer is timed and checked.

Rules:
- The first answer that is not as it should be ends the demo.
- What comes next must be the answer: nothing is skipped to find it.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

from zxmpp.cli.demo.alice import Heard
from zxmpp.cli.demo.stage import STEP, DemoError, Stage

__all__ = ["play"]

#: Seconds before a worker that is not connected yet gets another chance.
_PAUSE = 0.1


async def play(stage: Stage) -> None:
    """Play the conversation. DemoError names the step that went wrong."""
    screen = stage.screen
    screen.note("")
    begun = perf_counter()
    first = await _shout(stage, "a worker answers", "hello from chat")
    deadline = perf_counter() + STEP
    step = "the other worker answers"
    while await _shout(stage, step, "hello again") == first:
        if perf_counter() > deadline:
            raise DemoError(step, f"{first} answered each time within {STEP} s; the other one is "
                                  f"not connected to {stage.broker}.")  # fmt: skip
        screen.note(f"(that was {first} again: the other one is not connected yet; once more)")
        await asyncio.sleep(_PAUSE)
    await _ask(stage, "a wrong argument shows the usage", "!help shout loudly",
               "'loudly' is one word too many", "Usage: !help [command]")  # fmt: skip
    await _ask(stage, "help lists the commands", "!help",
               "!help [command]", "!shout <text ...> - Say it louder.")  # fmt: skip
    await _alert(stage)
    screen.note(f"\nAll 5 answers are as they should be ({perf_counter() - begun:.1f} s). That was "
                f"the whole way:\nchat -> plugin -> broker -> worker and back, and script -> "
                f"ZeroMQ -> room.")  # fmt: skip


async def _shout(stage: Stage, step: str, text: str) -> str:
    """Have a worker shout `text`; the worker's name."""
    while not stage.worked.empty():
        stage.worked.get_nowait()
    return await _ask(stage, step, f"!shout {text}", f"{text.upper()}!", by_worker=True)


async def _ask(
    stage: Stage, step: str, question: str, *expected: str, by_worker: bool = False
) -> str:
    stage.screen.say("alice", question)
    begun = perf_counter()

    async def ask() -> Heard:
        await stage.alice.says(question)
        return await stage.alice.heard.get()

    heard = await stage.step(step, ask())
    worker = ""
    if by_worker and heard.text in expected:
        # A worker says so before it answers, but through a pipe of its own.
        worker = await stage.step(step, stage.worked.get())
    stage.screen.say("bot", heard.text, (heard.at - begun) * 1000)
    _check(step, heard, "chat", *expected)
    return worker


async def _alert(stage: Stage) -> None:
    step = "the alert arrives in the room"
    begun = perf_counter()
    await stage.alert()
    heard = await stage.step(step, stage.alice.heard.get())
    stage.screen.say("room", f"{heard.text}", (heard.at - begun) * 1000)
    _check(step, heard, "groupchat", "db1: disk is 91 % full")


def _check(step: str, heard: Heard, kind: str, *expected: str) -> None:
    if heard.kind != kind or not all(text in heard.text for text in expected):
        wanted = " and ".join(map(repr, expected))
        raise DemoError(step, f"expected a {kind} message with {wanted}; what came is a "
                              f"{heard.kind} message: {heard.text!r}.")  # fmt: skip
