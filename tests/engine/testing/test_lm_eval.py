"""Tasks of lm-eval: where it is installed its own figures, by its own model class, on the same items."""

import json
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from engine.config import profiles
from engine.config.profile import Profile
from engine.errors import InputError
from engine.session.client import Session
from engine.testing import lm_eval, sets
from engine.testing.asking import asked
from engine.testing.questions import Response

FLOAT32 = profiles.changed(profiles.of_model("demo"), {"model.dtype": "float32"})
IS_HERE = find_spec("lm_eval") is not None
needs = pytest.mark.skipif(not IS_HERE, reason="needs the package lm-eval")
CHOICES = [
    {"question": "Which animal barks?", "choices": ["a cat", "dog", "the large fish"], "label": 1},
    {"question": "Which is a fruit?", "choices": ["apple", "an old hammer", "river"], "label": 0},
]
ANSWERS = [{"question": "2 + 2?", "answer": "4"}, {"question": "5 + 4?", "answer": "9"}]
CHOICE_TASK = """
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{label}}"
doc_to_choice: "{{choices}}"
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
ANSWER_TASK = """
output_type: generate_until
doc_to_text: "Q: {{question}}\\nA:"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], do_sample: false, max_gen_toks: 12}
filter_list:
  - {name: number, filter: [{function: regex, regex_pattern: "([0-9]+)"}, {function: take_first}]}
metric_list: [{metric: exact_match}]
"""


def task(folder: Path, name: str, text: str, rows: list[dict[str, object]]) -> Path:
    (data := folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = folder / f"{name}.yaml"
    place = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}}}\ntest_split: test"
    file.write_text(f"task: {name}\n{place}\n{text}")
    return file


@pytest.mark.skipif(IS_HERE, reason="lm-eval is installed")
def test_without_lm_eval_a_named_set_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"hellaswag needs the package lm-eval .pip install"):
        sets.find("hellaswag")
    monkeypatch.setattr(lm_eval, "find_spec", lambda _: True)
    with pytest.raises(InputError, match="lm-eval:piqa: ModuleNotFoundError"):  # said by the process
        sets.find("lm-eval:piqa")


@needs
async def test_it_says_what_lm_eval_says_of_the_same_items(
    tmp_path: Path, load: Callable[[Profile], Awaitable[Session]]
) -> None:
    """Against lm-eval's own run, with its own model class, in float32."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from engine.worker.load import load as load_here

    files = [
        task(tmp_path, "mini_choice", CHOICE_TASK, CHOICES),
        task(tmp_path, "mini_answer", ANSWER_TASK, ANSWERS),
    ]
    loaded = load_here(FLOAT32, 1, lambda staged: None, native_step=False)
    theirs = simple_evaluate(
        model=HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=1),
        tasks=["mini_choice", "mini_answer"],
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
        bootstrap_iters=0,
    )["samples"]
    session = await load(FLOAT32)
    for file in files:
        questions = sets.find(f"lm-eval:{file}")
        samples = {sample["doc_id"]: sample for sample in theirs[file.stem]}
        assert len(questions.questions) == len(samples) == 2
        for index, question in enumerate(questions.questions):
            response = await asked(session, question, 256)
            assert isinstance(response, Response) and response.error is None
            verdict, sample = await questions.judge(index, response), samples[index]
            if question.continuations:
                likelihoods = [float(resp[0][0]) for resp in sample["resps"]]
                assert response.log_likelihoods == pytest.approx(likelihoods, abs=1e-3)
                assert verdict.right == bool(sample["acc"])
                assert verdict.right_by_character == bool(sample["acc_norm"])
            else:
                assert response.text == sample["resps"][0][0]
                assert verdict.right == bool(sample["exact_match"])


@needs
def test_what_has_no_right_or_wrong_is_refused(tmp_path: Path) -> None:
    text = ANSWER_TASK.replace("exact_match", "bleu")
    with pytest.raises(InputError, match="no metric that says right or wrong"):
        sets.find(f"lm-eval:{task(tmp_path, 'mini_bleu', text, ANSWERS)}")
