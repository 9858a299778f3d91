"""The process in which lm-eval reads a task and judges answers: JSON lines, the questions first.

`python -m engine.worker.texts.lm_eval_tasks TASK LIMIT`. Knows no model: QuantDuel's workers answer. Which
metric says right or wrong is decided here: `acc`, exact matches, and IFEval's strict one.
"""

import os
import sys
import traceback
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from engine.testing.checks import Verdict
from engine.testing.lm_eval import Begun, Given, Opened, Refused
from engine.testing.questions import Question

RIGHT = ("acc", "exact_match", "prompt_level_strict_acc")
"""The metrics by which an answer is right or wrong; a task's first one counts."""


class Tasks:
    """The documents of one task, or of a group's, a question each."""

    def __init__(self, spec: str, limit: int) -> None:
        from lm_eval.tasks import TaskManager

        is_file = spec.endswith((".yaml", ".yml"))
        tasks = TaskManager(include_defaults=not is_file).load([spec])["tasks"]
        self._documents: list[tuple[Any, list[Any]]] = []
        self.questions: list[Question] = []
        for name, task in tasks.items():
            _require_right(name, task)
            task.build_all_requests(limit=limit or None, rank=0, world_size=1)
            documents: dict[int, list[Any]] = defaultdict(list)
            for instance in task.instances:
                documents[instance.doc_id].append(instance)
            for number, instances in documents.items():
                self._documents.append((task, instances))
                self.questions.append(_question(f"{name}-{number}", task, instances))
        del self.questions[limit or len(self.questions) :]  # of a group the first ones

    def verdict(self, given: Given) -> Verdict:
        """What the task's own filters and metrics say of an answer."""
        task, instances = self._documents[given.index]
        if given.log_likelihoods:
            metrics = task.process_results(
                instances[0].doc, [(value, False) for value in given.log_likelihoods]
            )
        else:
            (instance,) = instances
            instance.resps, instance.filtered_resps = [given.text], {}
            for ensemble in task._filters:
                ensemble.apply([instance])
            first = next(iter(instance.filtered_resps.values()))
            metrics = task.process_results(instance.doc, [first])
        right = next(metrics[name] for name in RIGHT if name in metrics)
        normed = metrics.get("acc_norm")
        return Verdict(right=bool(right), right_by_character=None if normed is None else bool(normed))


def _require_right(name: str, task: Any) -> None:
    if task.OUTPUT_TYPE not in {"multiple_choice", "generate_until"}:
        raise ValueError(f"{name} is of the kind {task.OUTPUT_TYPE}: only choices and answers are asked")
    if not set(RIGHT) & set(task.aggregation()):
        raise ValueError(f"{name} has no metric that says right or wrong ({', '.join(RIGHT)})")


def _question(id: str, task: Any, instances: list[Any]) -> Question:
    """A document as lm-eval puts it to a model: as plain text, few-shot examples included."""
    first = instances[0]
    target = task.doc_to_target(first.doc)
    if task.OUTPUT_TYPE == "multiple_choice":
        contexts = {instance.args[0] for instance in instances}
        if len(contexts) > 1:
            raise ValueError(f"{id}: its choices come after different texts, which is not asked here")
        choices = tuple(instance.args[1] for instance in instances)
        expected = choices[target].strip() if isinstance(target, int) else str(target)
        return Question(
            id=id,
            kind="choices",
            prompt=first.args[0],
            template="raw",
            continuations=choices,
            expected=expected,
        )
    how = first.args[1]
    until = how.get("until") or []
    return Question(
        id=id,
        kind="answer",
        prompt=first.args[0],
        template="raw",
        max_new_tokens=how.get("max_gen_toks") or how.get("max_new_tokens"),
        stop=tuple(each for each in ([until] if isinstance(until, str) else until) if each),
        expected=str(target),
    )


def _begun(spec: str, limit: int) -> tuple[Begun, Tasks | None]:
    try:
        tasks = Tasks(spec, limit)
    except Exception as error:  # whatever a task's own code raises
        traceback.print_exc()
        line = next(iter(str(error).splitlines()), "")
        hint = "" if Path(spec).suffix else "lm-eval's tasks come from the model hub: it must be reachable"
        return Refused(message=f"{type(error).__name__}: {line}"[:500], hint=hint), None
    return Opened(questions=tuple(tasks.questions), version=version("lm-eval")), tasks


def main() -> None:
    """Questions out, then a verdict for each answer that comes in."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever libraries print goes to stderr
    begun, tasks = _begun(sys.argv[1], int(sys.argv[2]))
    out.write(msgspec.json.encode(begun) + b"\n")
    out.flush()
    for line in sys.stdin.buffer:
        if tasks is None:
            return
        out.write(msgspec.json.encode(tasks.verdict(msgspec.json.decode(line, type=Given))) + b"\n")
        out.flush()


if __name__ == "__main__":
    main()
