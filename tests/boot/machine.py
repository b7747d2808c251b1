# SPDX-License-Identifier: GPL-2.0-or-later
"""Starts xuni-vmm on Debian's kernel for the boot tests: files, command line, time limits, what was printed."""
import hashlib
import http.server
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GUEST = ROOT / ".cache/guest"
VMM = pathlib.Path(os.environ.get("XUNI_VMM", ROOT / "build/xuni-vmm"))
# Emulation under a sanitizer is many times slower.
PATIENCE = float(os.environ.get("XUNI_PATIENCE", "1"))


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


def connect(path):
    """A connection to a server on this Unix socket, whose file is there a moment before anybody listens."""
    end = time.monotonic() + 20 * PATIENCE
    while True:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60 * PATIENCE)
        try:
            connection.connect(str(path))
            return connection
        except OSError:
            connection.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def engine_or_skip(engine):
    if not (GUEST / "vmlinuz").exists():
        skip("no guest; make it with guests/make-guest .cache/guest")
    if engine == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        skip("/dev/kvm is not there or not accessible")


def kvm_is_software():
    """A host CPU with neither vmx nor svm: its KVM runs guests in software (docs/design/kvm.md)."""
    return not re.search(r"^flags.* (vmx|svm)\b", pathlib.Path("/proc/cpuinfo").read_text(), re.M)


class Checks:
    """Collects what did not hold, so that one run shows all of it."""

    def __init__(self):
        self.failed = 0

    def holds(self, condition, what):
        print(("ok      " if condition else "FAILED  ") + what)
        self.failed += not condition

    def end(self):
        sys.exit(1 if self.failed else 0)


class Workspace:
    """A temporary directory with the initramfs extended by tests/boot/guest. guest: where make-guest wrote to."""

    def __init__(self, guest=GUEST):
        self.guest = guest
        if not (guest / "vmlinuz").exists():
            skip(f"no guest; make it with guests/make-guest {guest.relative_to(ROOT)} {guest.name}")

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="xuni-test-")
        self.path = pathlib.Path(self.directory.name)
        tree = self.path / "tree"
        (tree / "bin").mkdir(parents=True)
        names = ["bin"]
        for script in sorted((ROOT / "tests/boot/guest").iterdir()):
            (tree / "bin" / script.name).write_bytes(script.read_bytes())
            (tree / "bin" / script.name).chmod(0o755)
            names.append("bin/" + script.name)
        if (GUEST / "686/busybox").exists():
            (tree / "bin/busybox32").write_bytes((GUEST / "686/busybox").read_bytes())
            (tree / "bin/busybox32").chmod(0o755)
            names.append("bin/busybox32")
        archive = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, check=True, capture_output=True,
                                 input="\n".join(names).encode()).stdout
        self.initrd = self.path / "initrd.img"
        base = (self.guest / "initrd.img").read_bytes()
        # The kernel looks for a second, uncompressed archive at multiples of four bytes only.
        self.initrd.write_bytes(base + bytes(-len(base) % 4) + archive)
        return self

    def __exit__(self, *exc):
        self.directory.cleanup()

    def add(self, name, source):
        """Puts a program into the initramfs; before the machine starts."""
        (self.path / "tree" / name).write_bytes(source.read_bytes())
        (self.path / "tree" / name).chmod(0o755)
        archive = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=self.path / "tree", check=True, capture_output=True,
                                 input=name.encode()).stdout
        data = self.initrd.read_bytes()
        self.initrd.write_bytes(data + bytes(-len(data) % 4) + archive)

    def disk(self, name, mib):
        path = self.path / name
        with open(path, "wb") as f:
            f.truncate(mib << 20)
        return path

    def command(self, engine, append, *extra, memory="512M"):
        return [str(VMM), "-accel", engine, "-m", memory, "-nographic", "-nodefaults", "-serial", "stdio", "-kernel",
                str(self.guest / "vmlinuz"), "-initrd", str(self.initrd), "-append", "console=ttyS0 " + append, *extra]

    def converse(self, engine, append, steps, *extra, timeout=300, **kwargs):
        """As boot, but answers: steps are (text to wait for, what to type or whom to call then). Returns (exit status, text)."""
        process = subprocess.Popen(self.command(engine, append, *extra, **kwargs), stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        timer = threading.Timer(timeout * PATIENCE, process.kill)
        timer.start()
        text = b""
        seen = 0
        for wanted, answer in steps:
            while wanted.encode() not in text[seen:]:
                chunk = process.stdout.read1(4096)
                if not chunk:
                    break
                text += chunk
            else:
                seen = text.index(wanted.encode(), seen) + len(wanted)
                if callable(answer):
                    answer()
                else:
                    process.stdin.write(answer.encode())
                    process.stdin.flush()
                continue
            break
        text += process.stdout.read()
        status = process.wait()
        timer.cancel()
        return status, text.decode(errors="replace")

    def boot(self, engine, append, *extra, timeout=120, **kwargs):
        """Runs to the end; returns (exit status, text). A hang is a failure with what was printed so far."""
        command = self.command(engine, append, *extra, **kwargs)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        timer = threading.Timer(timeout * PATIENCE, process.kill)
        timer.start()
        text = process.stdout.read().decode(errors="replace")
        status = process.wait()
        timer.cancel()
        if status < 0:
            print(text[-3000:])
            print(f"killed by signal {-status} (time limit {timeout * PATIENCE:.0f} s)")
        return status, text


class WebServer:
    """Serves /small and /big (random bytes, `mib` MiB) on loopback; a POST is answered with the SHA-256 of its body."""

    def __init__(self, mib):
        blocks = [os.urandom(1 << 20) for _ in range(4)]
        digest = hashlib.sha256()
        for i in range(mib):
            digest.update(blocks[i % 4])
        self.sum = digest.hexdigest()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                big = self.path == "/big"
                self.send_response(200)
                self.send_header("Content-Length", str(mib << 20 if big else 6))
                self.end_headers()
                if big:
                    for i in range(mib):
                        self.wfile.write(blocks[i % 4])
                else:
                    self.wfile.write(b"small\n")

            def do_POST(self):
                taken = hashlib.sha256()
                left = int(self.headers["Content-Length"])
                while left:
                    piece = self.rfile.read(min(left, 1 << 16))
                    if not piece:
                        break
                    taken.update(piece)
                    left -= len(piece)
                answer = taken.hexdigest().encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
