"""Recording: all that comes into a bot and all that it sends, as JSON lines; see `Recorder`."""

from zxmpp.recording.format import Base64, Entry, Frame, Header, RecordFile, Recording, frame_bytes
from zxmpp.recording.masking import Masker
from zxmpp.recording.recorder import OwnedRunner, Recorder, header_of

__all__ = [
    "Base64",
    "Entry",
    "Frame",
    "Header",
    "Masker",
    "OwnedRunner",
    "RecordFile",
    "Recorder",
    "Recording",
    "frame_bytes",
    "header_of",
]
