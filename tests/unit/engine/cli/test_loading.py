"""A load that is refused."""

import json

import pytest

from engine import cli


def test_a_load_that_cannot_fit_is_refused_without_a_worker(capsys: pytest.CaptureFixture[str]) -> None:
    huge = "random:llama-3.1-70b"
    assert cli.run(["duel", huge, huge, "-p", "Hi", "--memory-limit", "8GiB", "--json"]) == 3
    out, err = capsys.readouterr()
    assert [side["error"]["kind"] for side in json.loads(out)["sides"]] == ["out_of_memory"] * 2
    assert "does not fit" in err and "--force" in err and "Traceback" not in err
