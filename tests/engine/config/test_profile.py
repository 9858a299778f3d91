"""The chat templates that are shipped."""

from engine import paths


def test_the_vicuna_template_writes_what_the_model_was_trained_on() -> None:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    text = (paths.shipped_profiles() / "templates" / "vicuna.jinja").read_text()
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(text)
    turns = [("user", "Hello!"), ("assistant", "Hello!"), ("user", "How are you?")]
    messages = [{"role": role, "content": content} for role, content in turns]
    shown = template.render(messages=messages, add_generation_prompt=True, eos_token="</s>")
    assert shown.startswith("A chat between a curious user and an artificial intelligence assistant.")
    assert shown.endswith(
        " questions. USER: Hello! ASSISTANT: Hello!</s>USER: How are you? ASSISTANT:".lstrip()
    )
    own = template.render(
        messages=[{"role": "system", "content": "Be brief."}, *messages[:1]], eos_token="</s>"
    )
    assert own == "Be brief. USER: Hello! "
