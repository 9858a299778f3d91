"""Made-up prompts for a server: ordinary words in a random order, as token ids where the server takes them.

Owns what a prompt without meaning is, so that none begins like another and a cache of prompts helps nobody.
"""

import random
from collections.abc import Sequence

from engine.config.profile import Generation, Prompt
from engine.protocol.answers import Message
from engine.protocol.runs import ServedRun
from engine.worker.served.adapter import Adapter, Asked, Rendered
from engine.worker.served.connection import Connection

TEXT = (
    "about above across after again against all almost alone along already also always among another "
    "answer any area around ask away back bad bank base be because become been before began being best "
    "better between big black blue body book both bring brought build business but call came can car "
    "carry case center change child church city clear close cold come common company control cost could "
    "country course cut dark day deep did different do done door down during each early earth east easy "
    "eat economic end enough even ever every example eye face fact family far fast father feel few field "
    "figure fire first five food foot for force form four free friend from front full game gave general "
    "get girl give go good government great green ground group grow had half hand hard has have he head "
    "hear heart help her here high him his history hold home hope hour house how however human idea if "
    "important in interest into it job just keep kind king know land language large last late law lead "
    "learn leave left less let letter level life light like line list little live local long look lost "
    "love low made make man many may me mean might mile mind money moon more morning most mother move "
    "much music must my name near need never new next night no north not note nothing now number of off "
    "office often old on once one only open or order other our out over own page paper part party pass "
    "past people person place plan plant play point power problem program public put question quick rain "
    "ran read real red rest right river road rock room round rule run said same saw say school sea second "
    "see seem service set seven shall she ship short should show side simple since six small snow so "
    "social some song soon sound south space stand star start state still stop story street strong study "
    "such sun sure system table take talk tell ten than that the their them then there these they thing "
    "think this those though thought three through time to today together too took top toward town tree "
    "true turn two under unit until up upon us use very voice wait walk want war warm was watch water way "
    "we week well went were west what when where which while white who whole why will wind with within "
    "without woman wood word work world would write year yes yet you young your "
)
WORDS = TEXT.split()


class MadeUp:
    """The prompts of one server."""

    def __init__(self, engine: Adapter, model: str, prompt: Prompt) -> None:
        self.engine, self.model = engine, model
        self._prompt = Prompt(template=prompt.template)
        self._ids: tuple[int, ...] | None = None  # of ordinary tokens
        self._around = 0  # tokens that a template puts around the words

    def asked(self, connection: Connection, run: ServedRun) -> list[Asked]:
        """A run's requests; ServerError where the server does not tokenize what it should."""
        if self.engine.can.ids and self._ids is None:
            self._ids = self._ordinary(connection)
        rng = random.Random(run.seed)  # nothing secret
        return [self._one(rng, run) for _ in range(run.requests)]

    def learn(self, run: ServedRun, prompt_tokens: Sequence[int]) -> None:
        """How many tokens the prompts of a run really had: the next ones have so many words less."""
        if prompt_tokens and not self.engine.can.ids:
            self._around += min(prompt_tokens) - run.context

    def _one(self, rng: random.Random, run: ServedRun) -> Asked:
        generation = Generation(max_new_tokens=run.steps, temperature=0.0)
        ids, said = None, ""
        if self._ids is not None:
            ids = Rendered(text="", token_ids=tuple(rng.choices(self._ids, k=run.context)))
        else:
            said = " ".join(rng.choices(WORDS, k=max(1, run.context - self._around)))
        return Asked(
            messages=(Message("user", said),),
            prompt=self._prompt,
            generation=generation,
            rendered=ids,
            cold=True,
            all_steps=True,
        )

    def _ordinary(self, connection: Connection) -> tuple[int, ...]:
        """The ids of many words, without what the tokenizer puts before and after a text."""
        said = (Message("user", " ".join(WORDS)),)
        found = self.engine.rendered(connection, self.model, said, Prompt(template="raw"))
        ids = found.token_ids[1:-1] if found else ()
        return tuple(dict.fromkeys(ids))
