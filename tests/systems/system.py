# SPDX-License-Identifier: GPL-2.0-or-later
"""For the tests of whole systems: a machine with a screen, a keyboard and a serial console that are read and typed at."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "boot"), str(HERE.parent / "display")]
from machine import GUEST, PATIENCE, VMM, Checks, skip  # noqa: E402,F401
from screen import Machine  # noqa: E402

KEYS = {" ": "spc", "\n": "ret", "-": "minus", "=": "equal", "/": "slash", ".": "dot", ",": "comma", "(": "shift-9", ")": "shift-0",
        ":": "shift-semicolon", "_": "shift-minus", "\\": "backslash", "\"": "shift-apostrophe", "$": "shift-4", ";": "semicolon"}


def need(*paths):
    """Skips the test, by name of file and package, when the distribution's files are missing. paths: (file, package)."""
    for path, package in paths:
        if not pathlib.Path(path).exists() and not shutil.which(path):
            skip(f"{path} of Debian's package {package} is missing; install it with tools/install-packages test")


def command(engine, *arguments, memory="256"):
    """engine: one of xuni's, or tcg for qemu-system-x86_64."""
    program = ["qemu-system-x86_64", "-accel", "tcg"] if engine == "tcg" else [VMM, "-accel", engine]
    return [str(c) for c in [*program, "-m", memory, "-nodefaults", "-display", "none", "-vga", "std", *arguments]]


class System(Machine):
    """-qmp stdio is added. The serial console is at a file and, for typing, reached by `send`."""

    def __init__(self, engine, *arguments, memory="256"):
        self.folder = tempfile.TemporaryDirectory(prefix="xuni-system-")
        self.path = pathlib.Path(self.folder.name)
        for name in ["serial.in", "serial.out"]:
            os.mkfifo(self.path / name)
        # Held open both ways, so that neither side waits for the other.
        self.serial_in = os.open(self.path / "serial.in", os.O_RDWR)
        self.serial_out = os.open(self.path / "serial.out", os.O_RDWR | os.O_NONBLOCK)
        self.serial = ""
        self.seen = 0
        super().__init__(command(engine, "-qmp", "stdio", "-chardev", f"pipe,id=com1,path={self.path}/serial", "-serial",
                                 "chardev:com1", *arguments, memory=memory))

    def __exit__(self, *exc):
        try:
            super().__exit__(*exc)
        except BrokenPipeError:
            self.process.wait()  # it powered itself off
        os.close(self.serial_in)
        os.close(self.serial_out)
        self.folder.cleanup()

    def type(self, text):
        """At the keyboard, through the monitor."""
        for character in text:
            key = KEYS.get(character) or ("shift-" + character.lower() if character.isupper() else character)
            self.hmp(f"sendkey {key} 20")
            time.sleep(0.05)

    def shows(self, text, seconds=60):
        """Waits until a row of the screen holds the text."""
        return self.wait_text(text, seconds * PATIENCE)

    def shows_row(self, text, seconds=30):
        """Waits until a row is the text and nothing else: what a command says, not its line."""
        deadline = time.monotonic() + seconds * PATIENCE
        while text not in [row.strip() for row in self.text()]:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def screen(self):
        return "\n".join(row.rstrip() for row in self.text() if row.strip())

    def read_serial(self):
        try:
            self.serial += os.read(self.serial_out, 65536).decode(errors="replace")
        except BlockingIOError:
            return False
        return True

    def hears(self, text, seconds=60):
        """Waits until the serial console has said the text, after what was heard last; not after a kernel's panic."""
        deadline = time.monotonic() + seconds * PATIENCE
        while text not in self.serial[self.seen:]:
            if not self.read_serial():
                if time.monotonic() > deadline or self.process.poll() is not None or "Kernel panic" in self.serial:
                    return False
                time.sleep(0.05)
        self.seen = self.serial.index(text, self.seen) + len(text)
        return True

    def ends(self, seconds):
        """Waits until the machine has powered itself off, with exit status 0."""
        deadline = time.monotonic() + seconds * PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read_serial()
            time.sleep(0.05)
        return self.process.poll() == 0

    def send(self, text):
        """At the serial console."""
        os.write(self.serial_in, text.encode())


def run(*arguments, **kwargs):
    """A program of the host; what it says is shown when it fails."""
    done = subprocess.run([str(a) for a in arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs)
    if done.returncode:
        print(done.stdout.decode(errors="replace")[-3000:])
        raise RuntimeError(f"{arguments[0]} failed with status {done.returncode}")
