"""A worker that puts what acts on a terminal into every text it may say. Run as a script, in place of one."""

import sys
from dataclasses import dataclass

import msgspec

from engine.config.methods import Rtn
from engine.config.record import Check, ModuleError, Recipe, Record
from engine.protocol.answers import Decoded, Finished, Generate, Prefilled, Prompted, Render, Rendered
from engine.protocol.failure import Cancel, Failed
from engine.protocol.loading import Load, Loaded, Quantize, Quantized, Staged, Started
from engine.protocol.model import Memory, ModelInfo, Weights
from engine.protocol.runs import Measure, MeasureCopy
from engine.protocol.scores import Score, Tokenize
from engine.protocol.wire import Command, Event

EVIL = "a\x1b]0;PWN\x07\x1b]52;c;cm0=\x1b\\\x9b31m\x9d0;C1\x9c\u202eb\u200b\u2028c\x7fd\re\nB  forged\x0e"
MEMORY = Memory(
    weights_bytes=1,
    kv_cache_bytes=1,
    peak_bytes=1,
    process_bytes=1,
    device_used_bytes=1,
    device_total_bytes=1,
    process_source=EVIL,
)
INFO = ModelInfo(
    label=EVIL,
    kernel=EVIL,
    architecture=EVIL,
    parameters=1,
    context_length=64,
    dtype=EVIL,
    device=EVIL,
    device_name=EVIL,
    threads=1,
    weights=Weights(linear_bytes=1, embedding_bytes=1, other_bytes=1),
    tokenizer_sha256=EVIL,
    has_chat_template=True,
    notes=(EVIL,),
    versions={EVIL: EVIL},
)
RECORD = Record(
    recipe=Recipe(model=EVIL, dtype=EVIL, method=Rtn(), versions={EVIL: EVIL}),
    profile=EVIL,
    created=EVIL,
    seconds=1.0,
    total_seconds=1.0,
    peak_bytes=1,
    check=Check(text=EVIL, tokens=1, source_perplexity=1.0, perplexity=1.0),
    errors=(ModuleError(layer=0, module=EVIL, loss=0.5),),
    notes=(EVIL,),
)


@dataclass(frozen=True)
class Answers:
    """What is said to a command."""

    path: str

    def to(self, command: Command) -> list[Event]:
        """Events, the last one final."""
        match command:
            case Load():
                return [Staged(stage="read", subject=EVIL), Loaded(info=INFO, memory=MEMORY)]
            case Quantize():
                return [Quantized(path=self.path, record=RECORD, cached=True)]
            case Render(request=number):
                return [Rendered(request=number, text=EVIL, token_ids=(1,))]
            case Generate(request=number):
                return [
                    Prompted(request=number, tokens=1, sha256=EVIL, notes=(EVIL,)),
                    Prefilled(request=number, done=0, total=1),
                    Prefilled(request=number, done=1, total=1),
                    Decoded(request=number, token_id=1, text=EVIL),
                    Finished(request=number, reason="stop", memory=MEMORY, text=EVIL, notes=(EVIL,)),
                ]
            case Cancel():
                return []
            case Measure() | MeasureCopy() | Tokenize() | Score():
                return [Failed(kind="generation", message=EVIL, hint=EVIL, request=command.request)]


def main() -> None:
    """Until stdin ends."""
    answers, encoder = Answers(sys.argv[1]), msgspec.json.Encoder()
    decoder = msgspec.json.Decoder(Command)
    said: list[Event] = [Started(pid=1)]
    while True:
        for event in said:
            sys.stdout.buffer.write(encoder.encode(event) + b"\n")
        sys.stdout.buffer.flush()
        line = sys.stdin.buffer.readline()
        if not line:
            return
        said = answers.to(decoder.decode(line))


if __name__ == "__main__":
    main()
