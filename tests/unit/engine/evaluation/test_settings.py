"""What settings of an eval do not go together."""

import pytest

from engine.config.profile import Model, Profile
from engine.config.worker_place import Worker
from engine.errors import InputError
from engine.evaluation.run import Evaluation
from engine.evaluation.settings import Settings


def test_by_layer_needs_both_models_on_this_machine() -> None:
    far = Profile(name="far", model=Model(source="demo"), worker=Worker(launch="ssh gpu2 quantduel worker"))
    here = Profile(name="here", model=Model(source="demo"))
    with pytest.raises(InputError, match="far runs on another machine"):
        Evaluation(Settings(profiles=(here, far), by_layer=True))
