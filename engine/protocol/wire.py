"""All that may be said, each way, and how it is read: JSON, one object a line."""

import msgspec

from engine.protocol.answers import (
    Decoded,
    Finished,
    Generate,
    Prefilled,
    Prompted,
    Render,
    Rendered,
    Resumed,
)
from engine.protocol.failure import Cancel, Failed
from engine.protocol.far_end import Answered, Beat, Greeting, Hello, Piece, Ping, Question, Rest, Sent
from engine.protocol.loading import Load, Loaded, Quantize, Quantized, Staged, Started
from engine.protocol.runs import (
    CopyMeasured,
    Measure,
    MeasureCopy,
    Measured,
    MeasureServed,
    ServedAdvanced,
    ServedAnswered,
    ServedMeasured,
)
from engine.protocol.scores import ReferenceTaken, Score, Scored, TakeReference, Tokenize, Tokenized

WIRE_VERSION = 3
"""Of everything here: raised with whatever an older QuantDuel would misread or not know."""
LONGEST_LINE_BYTES = 1 << 26
Task = (
    Load
    | Quantize
    | Generate
    | Render
    | Measure
    | MeasureServed
    | MeasureCopy
    | Tokenize
    | TakeReference
    | Score
)
"""What a worker does one at a time."""
Command = Task | Cancel
FarCommand = Command | Ping | Rest | Piece | Question
"""What the far end of a launched command is told."""
Event = (
    Started
    | Staged
    | Loaded
    | Quantized
    | Rendered
    | Prompted
    | Resumed
    | Prefilled
    | Decoded
    | Finished
    | Measured
    | ServedAdvanced
    | ServedAnswered
    | ServedMeasured
    | CopyMeasured
    | Tokenized
    | ReferenceTaken
    | Scored
    | Answered
    | Failed
)
FarEvent = Event | Hello | Beat | Sent
"""What comes from the far end of a launched command."""
encode = msgspec.json.Encoder().encode
decode_command = msgspec.json.Decoder(Command).decode
decode_event = msgspec.json.Decoder(Event).decode
decode_far_command = msgspec.json.Decoder(FarCommand).decode
decode_far_event = msgspec.json.Decoder(FarEvent).decode
decode_greeting = msgspec.json.Decoder(Greeting).decode
