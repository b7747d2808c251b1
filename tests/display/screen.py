# SPDX-License-Identifier: GPL-2.0-or-later
"""For tests of screens: a machine with a QMP monitor, and its screen as text and as pixels."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

VMM = os.environ.get("XUNI_VMM", str(pathlib.Path(__file__).resolve().parents[2] / "build" / "xuni-vmm"))


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


class Machine:
    """The command ends with -qmp stdio."""

    def __init__(self, command):
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL if "qemu" in str(command[0]) else None, text=True)
        self.process.stdout.readline()
        self.command("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.command("quit")
        except (OSError, EOFError):
            pass
        self.process.stdin.close()
        self.process.wait(timeout=30)

    def command(self, name, **arguments):
        self.process.stdin.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.process.stdin.flush()
        while True:
            line = self.process.stdout.readline()
            if not line:
                raise EOFError(name)
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError(answer["error"]["desc"])
            if "return" in answer:
                return answer["return"]

    def hmp(self, line):
        return self.command("human-monitor-command", **{"command-line": line})

    def text(self):
        """The rows of a text mode; none in a graphics mode."""
        with tempfile.NamedTemporaryFile("r", suffix=".txt") as file:
            try:
                self.command("screendump", filename=file.name, format="text")
            except RuntimeError as error:
                if "graphics" in str(error):
                    return []
                raise
            return file.read().split("\n")

    def wait_text(self, text, seconds=60):
        """Until a row of the screen holds the text; false when it does not come."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if any(text in row for row in self.text()):
                return True
            time.sleep(0.1)
        return False

    def pixels(self):
        """(width, height, bytes of RGB)"""
        with tempfile.NamedTemporaryFile(suffix=".ppm") as file:
            self.command("screendump", filename=file.name)
            return read_ppm(file.name)


def read_ppm(path):
    data = pathlib.Path(path).read_bytes()
    magic, width, height, rest = data.split(maxsplit=3)[0], *data.split(b"\n", 3)[1].split(), data.split(b"\n", 3)[3]
    assert magic == b"P6"
    return int(width), int(height), rest
