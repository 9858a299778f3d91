"""A leaderboard as text: table, JSON, CSV. The same document, so the same figures."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from engine import tables
from engine.errors import InputError
from engine.tables import Cell, Row
from engine.votes.leaderboard import STRENGTHS_FROM, Leaderboard, Pair, Standing

Format = Literal["table", "json", "csv"]
SUFFIXES: Mapping[str, Format] = {".json": "json", ".csv": "csv", ".txt": "table"}
NO_VOTES = "No votes yet: `quantduel arena A B --prompts FILE`, or F2 in the duel"
OPEN = "open"


def text(board: Leaderboard, form: Format) -> str:
    """The board in this format."""
    return _WRITERS[form](board)


def format_of(file: Path) -> Format:
    """The format that a file's extension names; InputError where it names none."""
    if file.suffix not in SUFFIXES:
        raise InputError(f"{file}: which format?", "the name ends in " + ", ".join(SUFFIXES))
    return SUFFIXES[file.suffix]


def excluded_text(board: Leaderboard) -> str:
    """`3 turns do not count: 2 no vote, 1 failed`; nothing where all do."""
    total = sum(board.excluded.values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in board.excluded.items())
    verb = "turn does" if total == 1 else "turns do"
    return f"{total} {verb} not count: {reasons}" if total else ""


def interval_text(standing: Standing) -> str:
    """`948 … 1093`, `open … 1093`, `948 … open`; nothing where there is no strength."""
    if standing.elo is None:
        return ""
    low, high = (OPEN if end is None else f"{end:.0f}" for end in (standing.elo_low, standing.elo_high))
    return f"{low} … {high}"


def p_text(p_value: float) -> str:
    """Three decimals; below one in a thousand, that."""
    return f"{p_value:.3f}" if p_value >= 0.001 else "< 0.001"


def numbers(standing: Standing, board: Leaderboard) -> Row:
    """A standing for machines that cannot read JSON; the p-value where there is but one pair."""
    row: dict[str, Cell] = {
        name: getattr(standing, name) for name in Standing.__struct_fields__ if name != "remark"
    }
    only = board.pairs[0].p_value if len(board.pairs) == 1 else None
    return row | {"p_value": only, "remark": standing.remark}


def cells(standing: Standing, board: Leaderboard) -> Row:
    """A standing for reading."""
    row: dict[str, Cell] = {
        "profile": standing.profile,
        "votes": standing.votes,
        "won": standing.wins,
        "lost": standing.losses,
        "ties": standing.ties,
        "both bad": standing.both_bad,
        "score": f"{standing.score_share:.0%}",
    }
    if len(board.standings) < STRENGTHS_FROM:
        return row
    elo = None if standing.elo is None else round(standing.elo)
    return row | {"strength": elo, "95 %": interval_text(standing), "remark": standing.remark}


def pair_cells(pair: Pair) -> Row:
    """A pair for reading."""
    share = None if pair.a_share is None else f"{pair.a_share:.0%}"
    return {
        "pair": f"{pair.a} : {pair.b}",
        "won": f"{pair.a_wins} : {pair.b_wins}",
        "ties": pair.ties,
        "both bad": pair.both_bad,
        "share": share,
        "95 %": f"{pair.a_share_low:.0%} … {pair.a_share_high:.0%}",
        "p": p_text(pair.p_value),
    }


def _table(board: Leaderboard) -> str:
    if not board.votes:
        return "\n".join(line for line in (NO_VOTES, excluded_text(board)) if line)
    standings = tables.table([cells(standing, board) for standing in board.standings])
    pairs = tables.table([pair_cells(pair) for pair in board.pairs])
    remarks = "\n".join(tables.single_lines(line for line in (*board.notes, excluded_text(board)) if line))
    return "\n\n".join(part for part in (standings, pairs, remarks) if part)


def _csv(board: Leaderboard) -> str:
    return tables.csv_text([numbers(standing, board) for standing in board.standings])


_WRITERS: Mapping[Format, Callable[[Leaderboard], str]] = {"table": _table, "json": tables.json, "csv": _csv}
