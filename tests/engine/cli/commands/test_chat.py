"""`quantduel chat`: a pipe, and a terminal with Ctrl-C, /clear and Ctrl-D."""

import os
import pty
import subprocess
import sys
import time

PACKED = "smollm2-q4-llama-cpp"  # its worker needs no torch: no long start
CALL = [sys.executable, "-c", "from engine.cli import main; main()"]


def test_a_pipe_gets_just_the_answer() -> None:
    call = [*CALL, "chat", PACKED, "--max-new-tokens", "5"]
    result = subprocess.run(call, input="hi\n", capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip()


def test_nothing_to_answer_is_bad_input() -> None:
    result = subprocess.run(
        [*CALL, "chat", "random:tiny"], input="\n", capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.startswith("quantduel: the prompt is empty")


def test_a_model_that_does_not_load_ends_with_3() -> None:
    call = [*CALL, "chat", "./no-such.gguf", "--set", "quantization.method=llama_cpp"]
    result = subprocess.run(call, input="hi", capture_output=True, text=True, check=False)
    assert result.returncode == 3
    assert result.stderr.startswith("quantduel: no-such.gguf: ") and "Traceback" not in result.stderr


class Terminal:
    """A chat in a pseudo-terminal."""

    def __init__(self, *args: str) -> None:
        self.shown = ""
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execvp(CALL[0], [*CALL, *args])

    def until(self, text: str, timeout_s: float = 60) -> None:
        """Read until `text` is shown; forget everything up to it."""
        deadline = time.monotonic() + timeout_s
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            self.shown += os.read(self._fd, 4096).decode(errors="replace")
        self.shown = self.shown.partition(text)[2]

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def ended(self) -> int:
        """Read the rest and return the exit code."""
        try:
            while chunk := os.read(self._fd, 4096):
                self.shown += chunk.decode(errors="replace")
        except OSError:  # Linux says so when the other end is closed
            pass
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_a_terminal_chats_cancels_forgets_and_leaves() -> None:
    chat = Terminal("chat", PACKED, "--max-new-tokens", "2000")
    chat.until("Ctrl-C stops an answer")
    chat.until("> ")
    chat.type("Write a very long story about the sea.\r")
    chat.until("mysterious")  # as the demo model begins
    chat.type("\x03")
    chat.until("TTFT")
    chat.until("> ")
    chat.type("half a li")
    chat.until("half a li")
    time.sleep(0.2)  # readline misses a Ctrl-C between the echo and its wait
    chat.type("\x03")
    chat.until("> ")
    chat.type("/clear\r")
    chat.until("forgotten")
    chat.until("> ")
    chat.type("\x04")
    assert chat.ended() == 0
    assert "Traceback" not in chat.shown
