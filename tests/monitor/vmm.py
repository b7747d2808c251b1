# SPDX-License-Identifier: GPL-2.0-or-later
"""Starts xuni-vmm (or qemu) with a guest of 27 bytes that echoes its serial port; talks QMP and HMP to it."""
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
VMM = os.environ.get("XUNI_VMM", str(ROOT / "build/xuni-vmm"))
ACCEL = os.environ.get("XUNI_ACCEL", "interp")
PATIENCE = 30 * float(os.environ.get("XUNI_PATIENCE", "1"))


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


def echo_kernel():
    """Multiboot 1: prints "hi", then sends back every byte it gets."""
    code = bytes.fromhex("66baf803 b068ee b069ee b00aee 66bafd03 ec a801 74f7 66baf803 ec ee ebef")
    flags = 1 << 16
    magic = 0x1badb002
    header = struct.pack("<IIIIIIII", magic, flags, -(magic + flags) & 0xffffffff, 0x100000, 0x100000, 0, 0, 0x100020)
    return (header + code).ljust(512, b"\0")


class Checks:
    def __init__(self):
        self.failed = 0

    def holds(self, condition, what):
        print(("ok      " if condition else "FAILED  ") + what, flush=True)
        self.failed += not condition

    def same(self, got, wanted, what):
        self.holds(got == wanted, what if got == wanted else f"{what}: got {got!r}, not {wanted!r}")

    def end(self):
        sys.exit(1 if self.failed else 0)


class Folder:
    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="xuni-monitor-")
        self.path = pathlib.Path(self.directory.name)
        self.kernel = str(self.path / "echo")
        pathlib.Path(self.kernel).write_bytes(echo_kernel())
        return self

    def __exit__(self, *exc):
        self.directory.cleanup()

    def command(self, *extra, program=VMM):
        return [program, "-accel", ACCEL if program == VMM else "tcg", "-nodefaults", "-m", "64", "-kernel", self.kernel, *extra]


class Stream:
    """Bytes from a descriptor, with patience."""

    def __init__(self, fd):
        self.fd = fd
        self.data = b""

    def fill(self, timeout):
        if not select.select([self.fd], [], [], timeout)[0]:
            return False
        try:
            more = os.read(self.fd, 65536)
        except OSError:
            more = b""
        self.data += more
        return bool(more)

    def until(self, pattern):
        """Text up to and with the regular expression; the rest stays."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = re.search(pattern, self.data)
            if found:
                text, self.data = self.data[:found.end()], self.data[found.end():]
                return text
            if time.monotonic() > deadline or not self.fill(deadline - time.monotonic()):
                raise AssertionError(f"{pattern!r} did not come; there is {self.data[-500:]!r}")

    def rest(self):
        while self.fill(PATIENCE):
            pass
        text, self.data = self.data, b""
        return text


class Qmp:
    def __init__(self, fd_in, fd_out):
        self.stream = Stream(fd_in)
        self.out = fd_out
        self.events = []
        self.greeting = self.message()

    def message(self):
        return json.loads(self.stream.until(rb"\n"))

    def send(self, text):
        data = text.encode() if isinstance(text, str) else text
        while data:
            data = data[os.write(self.out, data):]

    def reply(self):
        while True:
            message = self.message()
            if "event" not in message:
                return message
            self.events.append(message)

    def raw(self, text):
        self.send(text)
        return self.reply()

    def call(self, name, **arguments):
        request = {"execute": name}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        return self.raw(json.dumps(request) + "\n")

    def human(self, line):
        return self.call("human-monitor-command", command_line=line)["return"]

    def event(self, name):
        while True:
            for i, event in enumerate(self.events):
                if event["event"] == name:
                    return self.events.pop(i)
            self.events.append(self.message())


class QmpMachine:
    """A machine with QMP on its standard input and output."""

    def __init__(self, command, stderr=None):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr)
        self.qmp = Qmp(self.process.stdout.fileno(), self.process.stdin.fileno())

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def quit(self):
        self.qmp.call("quit")
        return self.process.wait(PATIENCE)


def connect(path):
    deadline = time.monotonic() + PATIENCE
    while True:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(str(path))
            return client
        except OSError:
            client.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


class Terminal:
    """A program on a pseudo terminal."""

    def __init__(self, command):
        self.master, slave = pty.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0))
        self.slave = slave
        self.stream = Stream(self.master)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.slave)
        os.close(self.master)

    def type(self, data):
        os.write(self.master, data)

    def until(self, pattern):
        return self.stream.until(pattern)
