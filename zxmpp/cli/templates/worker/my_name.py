"""The worker my-name: a function, that a bot's people or other programs ask."""


def my_name(text: str) -> str:
    """Count words: the request's text comes in, the answer goes out."""
    return f"{len(text.split())} words"
