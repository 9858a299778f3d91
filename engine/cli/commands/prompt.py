"""`quantduel prompt`: the text and token ids that a prompt becomes, as the model reads it."""

import asyncio

import click
from msgspec import Struct

from engine import tables
from engine.cli import loading, prompts, terminal, transcript
from engine.cli.options import NOTHING_SET, chosen
from engine.cli.profile_name import PROFILE
from engine.config.profile import Profile
from engine.errors import ExitCode, GenerationError
from engine.protocol.answers import Message, Rendered
from engine.protocol.failure import Failed


class _Shown(Struct):
    profile: str
    text: str
    token_ids: tuple[int, ...]


@click.command(short_help="Show a prompt as the model reads it: text and token ids.")
@click.argument("name", metavar="PROFILE", type=PROFILE)
@click.option(
    "-p", "--prompt", "text", metavar="TEXT", required=True, help="The prompt; `-` reads it from stdin."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def prompt(name: str, text: str, as_json: bool) -> ExitCode:
    """Load PROFILE and show the text and the token ids that a prompt becomes."""
    conversation = prompts.of_argument(text)
    result = asyncio.run(_render(chosen(name, NOTHING_SET), conversation.prompt))
    if isinstance(result, ExitCode):
        return result
    if as_json:
        terminal.data(tables.json(_Shown(name, result.text, result.token_ids)))
    else:
        terminal.write(result.text)
        terminal.write(f"\n\n{len(result.token_ids)} tokens: {' '.join(map(str, result.token_ids))}\n")
    return ExitCode.DONE


async def _render(wanted: Profile, text: str) -> Rendered | ExitCode:
    async with loading.loaded([wanted]) as (side,):
        if side.failure:
            transcript.failed_loads([side])
            return ExitCode.NOT_LOADED
        result = await side.session.render((Message("user", text),))
    if isinstance(result, Failed):
        raise GenerationError(result.message, result.hint)
    return result
