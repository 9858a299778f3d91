"""Profiles: a model, a quantization method, a prompt and sampling settings in one YAML file.

Owns the schema and finding, reading and listing profiles. Loads nothing and knows no torch.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from engine import input_files, paths
from engine.config import origin, strict_yaml
from engine.config.faults import nearest
from engine.config.methods import Calibrated, Gguf, LlamaCpp, Method, Stored, original, tag
from engine.config.runtime import CacheDtype
from engine.config.serving import checks
from engine.config.serving.programs import program
from engine.config.serving.serve import Serve
from engine.config.sources import Demo, Folder, GgufFile, Hub, Remote, Served, Source, parse_source
from engine.config.worker_place import Worker
from engine.errors import FileError, InputError, ProfileError
from engine.sanitize import visible

Dtype = Literal["auto", "bfloat16", "float16", "float32"]
Thinking = Literal["auto", "on", "off"]
TEMPLATE_NAMES = {"messages", "tools", "documents", "add_generation_prompt", "chat_template", "tokenize"}
"""Variables of a chat template that are the engine's to fill."""
MOST_TEMPLATE_BYTES = 1 << 20
Seed = Annotated[int, Meta(ge=0, le=2**62)]


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the parts of a profile have in common."""


class Model(_Section, frozen=True):
    """Where the weights come from and how they are held."""

    source: str
    """`demo`, a hub id (`org/name`), a folder, a `.gguf` file, `random:<shape>`, or a server's address
    (`http://host:8000/v1`)."""
    revision: str = "main"
    """Branch, tag or commit of a hub id."""
    dtype: Dtype = "auto"
    """Of the weights that are not quantized, and of the arithmetic; `auto` is the checkpoint's own."""
    device: str = "auto"
    """`auto` is the first GPU, or the CPU where there is none; `split` spreads over all GPUs."""
    trust_remote_code: bool = False
    """Run Python code out of the model's repository. Only for repositories you have read."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|split", self.device):
            raise ValueError(f"device: expected auto, cpu, cuda, cuda:1 or split, not {self.device!r}")
        try:
            parse_source(self.source)
        except InputError as error:
            raise ValueError(f"source: {error}") from None


class Cache(_Section, frozen=True):
    """How the keys and values of what was read are held ([its figures](measuring.md#a-cache-in-8-bits)).

    In 8 bits they take about half the memory. A model with layers that keep a sliding window or a recurrent
    state is refused, but not with `llama_cpp`: there int8 is q8_0, and there is no fp8. A served model has
    the cache its server was started with (vLLM: `--kv-cache-dtype fp8`, llama-server: `-ctk q8_0 -ctv q8_0`).
    """

    dtype: CacheDtype = "auto"
    """`auto` is the model's own; `int8` and `fp8` (e4m3) have a scale for each token and head."""

    @property
    def badge(self) -> str:
        """What a method's badge needs with it, such as `+kv-int8`; empty for `auto`."""
        return "" if self.dtype == "auto" else f"+kv-{self.dtype}"


class Prompt(_Section, frozen=True):
    """How a conversation becomes the text the model reads."""

    template: str = "chat"
    """`chat` (the tokenizer's own), `raw` (plain completion), or the path of a Jinja file."""
    system: str | None = None
    """The system message; where nothing is said, the template's own default stands."""
    thinking: Thinking = "auto"
    """Whether a model that can think before it answers does; `auto` leaves it to the template."""
    template_args: dict[str, bool | int | float | str] = {}
    """Variables for the template, such as `{enable_thinking: false}` or `{reasoning_effort: low}`."""

    def __post_init__(self) -> None:
        for name in self.template_args:
            if not name.isidentifier() or name in TEMPLATE_NAMES:
                raise ValueError(f"template_args: {name!r} is no variable that can be set")

    def __hash__(self) -> int:
        """Profiles are keys; a dict alone is none."""
        return hash((self.template, self.system, self.thinking, frozenset(self.template_args.items())))


class Generation(_Section, frozen=True):
    """Sampling settings, with the meaning transformers gives them."""

    RETIRED: ClassVar[Mapping[str, str]] = {
        "compile": "delete this line: decode steps are compiled on a CPU and captured on a GPU anyway"
    }
    """Keys that were known once, and what to do about them."""

    max_new_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] = 256
    temperature: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0
    """0 is greedy."""
    top_k: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """0 is off."""
    top_p: Annotated[float, Meta(gt=0, le=1)] = 1.0
    min_p: Annotated[float, Meta(ge=0, le=1)] = 0.0
    repetition_penalty: Annotated[float, Meta(ge=1e-6, le=1_000_000)] = 1.0
    seed: Seed = 0
    stop: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    """Strings that end an answer, special tokens too; they are not part of it."""


class Profile(_Section, frozen=True, kw_only=True):
    """One side of a duel."""

    name: str = ""
    """The file's name without `.yaml`; not written in the file."""
    description: str = ""
    model: Model
    quantization: Method = Stored()
    cache: Cache = Cache()
    worker: Worker = Worker()
    remote: Remote = Remote()
    serve: Serve | None = None
    prompt: Prompt = Prompt()
    generation: Generation = Generation()

    @property
    def source(self) -> Source:
        """Where the weights come from, parsed."""
        return parse_source(self.model.source)

    def has_model_of(self, other: "Profile") -> bool:
        """Whether both load the same files: equal names on two machines are not."""
        own, others = self.model, other.model
        is_same = own.source == others.source and own.revision == others.revision
        return is_same and self.worker.launch == other.worker.launch

    @property
    def place(self) -> tuple[str, str]:
        """Equal for two profiles whose models share a device, as far as their words tell."""
        return self.worker.launch or "", self.model.device

    @property
    def runs_in(self) -> Worker:
        """Where its worker runs: as it says, or else in the environment that its method's code needs."""
        package = "" if self.serve else original(self.quantization)
        return Worker(environment=package) if package and self.worker.is_own else self.worker

    @property
    def label(self) -> str:
        """The method's badge, such as `bf16` or `nf4`."""
        method = "served" if self.is_served else self.quantization.label(self.model.dtype)
        label = method + self.cache.badge
        return f"{label} {program(self.serve).title}" if self.serve else label

    @property
    def is_served(self) -> bool:
        """Whether a server holds the model, which is then asked and not loaded."""
        return isinstance(self.source, Served)

    @property
    def source_address(self) -> str:
        """What to call its source: a server's host and port, else as the profile names it."""
        source = self.source
        return source.address if isinstance(source, Served) else self.model.source

    @property
    def needs_torch(self) -> bool:
        """Whether a worker loads the model into torch: neither asks a server nor runs one."""
        is_elsewhere = self.is_served or self.serve is not None
        return not is_elsewhere and not isinstance(self.quantization, LlamaCpp)


def read(path: Path) -> Profile:
    """The profile in a YAML file. Relative paths in it are relative to the file's folder."""
    profile = strict_yaml.read(path, Profile)
    if profile.name:
        raise _fault(path, "name", "the file's name is the profile's name", "leave this key out")
    return _checked(replace(profile, name=origin.shown_name(path)), path)


CODE_KEYS = ("model.trust_remote_code", "worker.python", "worker.launch", "remote.key_env", "serve.engine")


def find(name: str, *, allowed: Iterable[str] = ()) -> Profile:
    """The profile a user means: a file, a profile's name, or straight a model (folder, GGUF file, hub id).

    One of `./profiles` found by its name switches on code, the model's or a program, only where that key is
    `allowed`, such as `model.trust_remote_code`.
    """
    if file := file_of(name):
        found = read(file)
        if name.endswith((".yaml", ".yml")) or origin.of(file) != "./profiles":
            return found
        for key in code_keys(found):
            if key not in allowed:
                raise _code_refused(file, key)
        return found
    is_there = paths.answers(Path.exists, paths.expanded(name))
    if is_there or "/" in name or name == "demo" or name.startswith("random:"):
        return of_model(name)
    hint = nearest(name, available()) or "`quantduel profiles list` shows all"
    raise InputError(f"no profile named {name!r}", hint)


def code_keys(profile: Profile) -> list[str]:
    """The keys by which a profile runs code that is not QuantDuel's, or sends a key away, of CODE_KEYS."""
    worker, key_env = profile.worker, profile.remote.key_env
    are_set = (
        profile.model.trust_remote_code,
        worker.python is not None,
        worker.launch is not None,
        key_env is not None,
        profile.serve is not None,
    )
    return [key for key, is_set in zip(CODE_KEYS, are_set, strict=True) if is_set]


def file_of(name: str) -> Path | None:
    """The file that `find` reads for this name; None where it means a bare model."""
    if name.endswith((".yaml", ".yml")):
        return paths.expanded(name)
    return available().get(visible(name, keep_newlines=False))


def of_model(source: str) -> Profile:
    """A profile for a bare model: as stored, with the tokenizer's own template."""
    path = paths.expanded(source)
    if paths.answers(Path.exists, path):
        source = str(path.absolute())
    parsed = parse_source(source)
    name = parsed.address if isinstance(parsed, Served) else origin.shown_name(Path(source))
    return _checked(Profile(name=name, model=Model(source=source)), path)


def available() -> dict[str, Path]:
    """Every profile's file by name; a folder earlier in the search order wins."""
    found: dict[str, Path] = {}
    for folder in origin.folders():
        for file in origin.yaml_files(folder):
            found.setdefault(origin.shown_name(file), file)
    return dict(sorted(found.items()))


def changed(profile: Profile, settings: Mapping[str, object], *, where: str = "--set") -> Profile:
    """The profile with other values: `{"model.dtype": "float32"}`; a bare key is one of `generation`.

    A new `quantization.method` starts from that method's own defaults. ProfileError says `where` it was set.
    """
    data: dict[str, Any] = msgspec.to_builtins(profile)
    for key, value in settings.items():
        *sections, last = key.split(".") if "." in key else ("generation", key)
        if key == "quantization.method" and data["quantization"]["method"] != value:
            data["quantization"] = {}
        if sections == ["worker"]:  # one key of it stands alone
            data["worker"] = {}
        place = data
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ProfileError(where, f"{section} has no keys of its own", key=key)
        place[last] = value
    return _checked(strict_yaml.convert(data, Profile, file=where), Path(where))


def to_yaml(profile: Profile) -> str:
    """The profile as the YAML file that would make it, defaults included."""
    import yaml

    data = {k: v for k, v in msgspec.to_builtins(profile).items() if k != "name" and v != ""}
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def faults(path: Path) -> list[ProfileError]:
    """Everything that is wrong with a file; nothing where it is a profile."""
    found = strict_yaml.faults(path, Profile)
    if found:
        return found
    try:
        read(path)
    except ProfileError as error:
        return [error]
    return []


def _checked(profile: Profile, file: Path) -> Profile:
    """The profile with its paths made absolute, after the checks that need more than one key."""
    _require_text(profile, file)
    _require_fit_for_servers(profile, file)
    if profile.worker.is_elsewhere:
        _require_full_paths(profile, file)
        return _with_method(profile, profile.source, file)
    folder = paths.expanded(file).absolute().parent
    if (python := profile.worker.python) is not None:
        python = str(_python(folder / paths.expanded(python), file, "worker.python"))
        profile = replace(profile, worker=Worker(python=python))
    if profile.serve and (python := profile.serve.python):
        python = str(_python(folder / paths.expanded(python), file, "serve.python"))
        profile = replace(profile, serve=replace(profile.serve, python=python))
    if profile.prompt.template not in {"chat", "raw"}:
        template = _template(folder / paths.expanded(profile.prompt.template), file)
        profile = replace(profile, prompt=replace(profile.prompt, template=str(template)))
    profile = replace(profile, quantization=_with_absolute_dataset(profile.quantization, folder))
    source = _absolute(profile.source, folder)
    if isinstance(source, Folder | GgufFile):
        profile = replace(profile, model=replace(profile.model, source=str(source.path)))
    return _with_method(profile, source, file)


def here(profile: Profile) -> Profile:
    """The profile that came from another machine, on the machine whose files it means; ProfileError."""
    return _checked(replace(profile, worker=Worker()), paths.neutral_folder() / "profile")


def prompt_here(prompt: Prompt) -> Prompt:
    """How a conversation becomes text, likewise; ProfileError where a template's file is not here."""
    if prompt.template in {"chat", "raw"}:
        return prompt
    return replace(prompt, template=str(_template(paths.expanded(prompt.template), Path("profile"))))


def _with_method(profile: Profile, source: Source, file: Path) -> Profile:
    """The profile of this source, with a method that reads it; ProfileError where it cannot."""
    if isinstance(source, GgufFile) and isinstance(profile.quantization, Stored):
        profile = replace(profile, quantization=Gguf())
    method = profile.quantization
    if isinstance(method, Gguf | LlamaCpp) and not isinstance(source, GgufFile | Demo):
        problem = f"{tag(method)} reads a .gguf file (or the demo), and model.source is none"
        raise _fault(file, "quantization.method", problem)
    if isinstance(method, LlamaCpp) and profile.cache.dtype == "fp8":
        raise _fault(file, "cache.dtype", "llama.cpp has no FP8 cache", "expected int8, its q8_0, or auto")
    if isinstance(method, LlamaCpp) and profile.model.device not in {"auto", "cpu"}:
        raise _fault(file, "model.device", "llama_cpp computes on the CPU", "expected auto or cpu")
    return profile


def _require_fit_for_servers(profile: Profile, file: Path) -> None:
    """ProfileError where a server is to do what it does not, or something else to be asked like one."""
    wrong = checks.misfit(profile, profile.prompt.template, profile.model.device, profile.cache.dtype)
    if wrong:
        key, problem, hint = wrong
        raise _fault(file, key, problem, hint)


def _require_text(profile: Profile, file: Path) -> None:
    """ProfileError where a text is no UTF-8: a lone surrogate, or a name of other bytes."""
    for section in reversed(profile.__struct_fields__):
        try:
            msgspec.json.encode(getattr(profile, section))
        except UnicodeEncodeError:
            raise _fault(file, section, "has text in it that is not UTF-8") from None


def _code_refused(file: Path, key: str) -> ProfileError:
    values = {
        "model.trust_remote_code": ("true", "run a model's code"),
        "remote.key_env": ("NAME", "send a key"),
        "serve.engine": ("vllm", "start a server"),
    }
    value, what = values.get(key, ("…", "run a program"))
    hint = (
        f"read it; then name its file, {file}, move it to {paths.user_profiles()}, or give "
        f"--set {key}={value}"
    )
    problem = f"a profile of the folder you are in does not {what} by its name alone"
    return _fault(file, key, problem, hint)


def _with_absolute_dataset(method: Method, folder: Path) -> Method:
    if isinstance(method, Calibrated) and (dataset := method.calibration.file):
        return replace(method, calibration=replace(method.calibration, dataset=str(folder / dataset)))
    return method


def _require_full_paths(profile: Profile, file: Path) -> None:
    """ProfileError where a path depends on a folder: of another machine nobody is in one."""
    source, method = profile.source, profile.quantization
    dataset = method.calibration.file if isinstance(method, Calibrated) else None
    template = profile.prompt.template
    named = {
        "model.source": source.path if isinstance(source, Folder | GgufFile) else None,
        "prompt.template": None if template in {"chat", "raw"} else Path(template),
        "quantization.calibration.dataset": Path(dataset) if dataset else None,
        "serve.python": Path(profile.serve.python) if profile.serve and profile.serve.python else None,
    }
    for key, path in named.items():
        if path is not None and not str(path).startswith(("/", "~")):
            hint = "write it in full, as it is at the other end of worker.launch; ~ is the home folder there"
            raise _fault(file, key, f"{path} is a file of another machine, seen from no folder", hint)


def _python(path: Path, file: Path, key: str) -> Path:
    if not paths.answers(Path.is_file, path):
        raise _fault(file, key, f"there is no such file: {path}", "expected the path of a Python")
    return path


def _template(path: Path, file: Path) -> Path:
    try:
        input_files.read_text(path, MOST_TEMPLATE_BYTES)
    except FileError as error:
        hint = "expected chat, raw, or a Jinja file"
        raise _fault(file, "prompt.template", f"{error.problem}: {path}", hint) from None
    return path


def _fault(file: Path, key: str, problem: str, hint: str = "") -> ProfileError:
    return ProfileError(file, problem, line=strict_yaml.line_of(file, key), key=key, hint=hint)


def _absolute(source: Source, folder: Path) -> Source:
    """The source with its path seen from `folder`, where a folder of that name goes before a hub id."""
    match source:
        case Folder(path):
            return Folder(folder / paths.expanded(path))
        case GgufFile(path):
            return GgufFile(folder / paths.expanded(path))
        case Hub(repo) if paths.answers(Path.is_dir, folder / repo):
            return Folder(folder / repo)
    return source
