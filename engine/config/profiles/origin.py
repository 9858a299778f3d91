"""Where a profile was found, and what that allows.

`./profiles` is of whatever folder the user happens to be in, perhaps a stranger's: a profile of it hides
others of its name, which is reported, and never runs a model's code by its name alone. Reads no profile.
"""

from pathlib import Path
from typing import Literal

from engine import paths
from engine.config import user_config
from engine.sanitize import visible

Origin = Literal["./profiles", "yours", "shipped"]


def folders() -> tuple[Path, ...]:
    """Where a profile's name is looked up, first hit wins."""
    return paths.profile_folders(_named())


def _named() -> list[Path]:
    """Those that the user's settings name."""
    return [paths.expanded(folder) for folder in user_config.read().folders.profiles]


def of(file: Path) -> Origin:
    """Whose folder a profile that was looked up by name is in."""
    folder = file.parent.resolve()
    if folder == paths.shipped_profiles().resolve():
        return "shipped"
    yours = (paths.user_profiles(), *_named())
    return "yours" if folder in {place.resolve() for place in yours} else "./profiles"


def shown_name(file: Path) -> str:
    """A profile's name, of its file or model: one line in which nothing is hidden."""
    return visible(file.stem if file.suffix in {".yaml", ".yml"} else file.name, keep_newlines=False)


def files(name: str) -> list[Path]:
    """The profiles of this name, first hit first."""
    found = (file for folder in folders() for file in yaml_files(folder))
    return [file for file in found if shown_name(file) == visible(name, keep_newlines=False)]


def yaml_files(folder: Path) -> list[Path]:
    """What could be profiles there."""
    return sorted(folder.glob("*.yaml")) if paths.answers(Path.is_dir, folder) else []


def remark(name: str) -> str:
    """What a user of this name should know: that this folder's profile is not the one he may mean."""
    found = files(name)
    if not found or of(found[0]) != "./profiles":
        return ""
    first, name = found[0], shown_name(found[0])
    hidden = next((of(other) for other in found[1:] if of(other) != "./profiles"), None)
    if hidden is None:
        return f"{name} is {first}, not the model of that name" if _is_model(name) else ""
    return (
        f"{name} is {first} of this folder, not {'the shipped profile' if hidden == 'shipped' else 'yours'}"
    )


def _is_model(name: str) -> bool:
    return name == "demo" or name.startswith("random:")
