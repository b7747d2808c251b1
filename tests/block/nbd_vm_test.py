#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest on disks of NBD servers: nbd_vm_test.py ENGINE. Data, and what it sees when a server goes and comes back, or does not."""
import hashlib
import json
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "boot"))
from machine import PATIENCE, Checks, Workspace, engine_or_skip, skip  # noqa: E402
from nbd_client_test import Kit  # noqa: E402
from nbd_server_test import wait_for  # noqa: E402


def data(engine, work, checks):
    """One disk by its URI from nbdkit, one by -blockdev from qemu-nbd, a third read through a qcow2 overlay."""
    tree = work.path / "fs"
    tree.mkdir()
    (tree / "from-host").write_text("made on the host\n")
    plain, formatted, over = work.disk("plain.raw", 64), work.disk("formatted.raw", 64), work.path / "over.qcow2"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(formatted)], check=True)
    before = formatted.read_bytes()
    server = subprocess.Popen(["qemu-nbd", "-t", "-e", "0", "-r", "-f", "raw", "-k", str(work.path / "q"), str(formatted)])
    try:
        wait_for(lambda: (work.path / "q").exists(), "qemu-nbd")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", f"nbd+unix:///?socket={work.path}/q", "-F", "raw", str(over), "64M"], check=True)
        with Kit(work.path, "file", plain) as kit:
            status, text = work.boot(engine, "quiet xuni=test-disk", "-drive", f"file={kit.uri()},format=raw,if=none,id=p,discard=unmap", "-device",
                                     "virtio-blk-pci,drive=p", "-blockdev",
                                     json.dumps({"driver": "file", "filename": str(over), "node-name": "f"}), "-blockdev",
                                     json.dumps({"driver": "qcow2", "file": "f", "node-name": "d"}), "-device", "virtio-blk-pci,drive=d", "-no-reboot")
    finally:
        server.kill()
        server.wait()
    checks.holds(status == 0, "exit status 0")
    for line in ["raw read-back ok", "file from the host ok", "file system read-back ok", "test-disk done"]:
        checks.holds(line in text, line)
    wanted = hashlib.sha256(plain.read_bytes()[:8 << 20]).hexdigest()
    checks.holds(f"host-sum {wanted}" in text, "the server has what the guest wrote")
    checks.holds(formatted.read_bytes() == before, "the shared base is as it was")
    if checks.failed:
        print(text[-3000:])


class Talk:
    """A machine whose console is read line by line."""

    def __init__(self, work, engine, *extra):
        self.process = subprocess.Popen(work.command(engine, "quiet xuni=test-lost", *extra), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)
        self.timer = threading.Timer(180 * PATIENCE, self.process.kill)
        self.timer.start()
        self.text = ""

    def until(self, wanted):
        for line in self.process.stdout:
            self.text += line.decode(errors="replace")
            if wanted in self.text:
                return True
        return False

    def end(self):
        self.text += self.process.stdout.read().decode(errors="replace")
        status = self.process.wait()
        self.timer.cancel()
        return status


def drive(kit, **more):
    return ["-blockdev", json.dumps({"driver": "nbd", "node-name": "n", "server": {"type": "unix", "path": str(kit.socket)}, **more}), "-blockdev",
            json.dumps({"driver": "raw", "file": "n", "node-name": "d"}), "-device", "virtio-blk-pci,drive=d", "-no-reboot"]


def comes_back(engine, work, checks):
    disk = work.disk("lost.raw", 64)
    with Kit(work.path, "file", disk) as kit:
        talk = Talk(work, engine, *drive(kit, **{"reconnect-delay": 100}))
        for mark in ("write 3 ok", "write 11 ok", "read 5 ok"):
            checks.holds(talk.until(mark), mark)
            kit.stop()
            kit.start()
        status = talk.end()
    checks.holds(status == 0 and "test-lost done" in talk.text, "the guest ends in good order")
    checks.holds("failed" not in talk.text and all(f"read {i} ok" in talk.text for i in range(24)), "nothing was lost")
    if checks.failed:
        print(talk.text[-3000:])


def stays_away(engine, work, checks):
    disk, path = work.disk("away.raw", 64), work.path / "qmp"
    with Kit(work.path, "file", disk, name="away") as kit:
        talk = Talk(work, engine, *drive(kit), "-qmp", f"unix:{path},server=on,wait=off")
        checks.holds(talk.until("write 3 ok"), "write 3 ok")
        kit.stop()
        checks.holds(talk.until("write 5 failed"), "the guest gets errors")
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(10 * PATIENCE)
            monitor.connect(str(path))
            lines = monitor.makefile("rw")
            lines.readline()
            for command in ("qmp_capabilities", "query-status"):
                lines.write(json.dumps({"execute": command}) + "\n")
                lines.flush()
                answer = json.loads(lines.readline())
            checks.holds(answer.get("return", {}).get("status") == "running", f"the monitor answers: {answer}")
        kit.start()
        checks.holds(talk.until("write 23 ok"), "and a disk again when the server is there again")
        status = talk.end()
    checks.holds(status == 0 and "test-lost done" in talk.text and "read 23 ok" in talk.text, "the guest ends in good order")
    if checks.failed:
        print(talk.text[-3000:])


def says_nothing(engine, work, checks):
    """A server that stops in the middle: reset and the end of the machine do not wait for it."""
    disk, path = work.disk("silent.raw", 64), work.path / "qmp2"
    with Kit(work.path, "--filter=delay", "file", disk, "delay-write=200ms", name="silent") as kit:
        talk = Talk(work, engine, *[word for word in drive(kit, **{"reconnect-delay": 100}) if word != "-no-reboot"], "-qmp",
                    f"unix:{path},server=on,wait=off")
        checks.holds(talk.until("write 1 ok"), "write 1 ok")
        kit.process.send_signal(signal.SIGSTOP)
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(60 * PATIENCE)
            monitor.connect(str(path))
            lines = monitor.makefile("rw")
            lines.readline()
            for command in ("qmp_capabilities", "system_reset", "query-status", "quit"):
                begin = time.monotonic()
                lines.write(json.dumps({"execute": command}) + "\n")
                lines.flush()
                while '"return"' not in lines.readline():
                    pass
                checks.holds(time.monotonic() - begin < 20 * PATIENCE, f"{command} is answered")
        begin = time.monotonic()
        status = talk.end()
        checks.holds(status == 0 and time.monotonic() - begin < 20 * PATIENCE, f"the machine ends: {status}")
        kit.process.send_signal(signal.SIGCONT)


for tool, package in (("qemu-img", "qemu-utils"), ("nbdkit", "nbdkit")):
    if not shutil.which(tool):
        skip(f"{tool} is not here (package {package})")
engine_or_skip(sys.argv[1])
with Workspace() as workspace:
    result = Checks()
    for case in (data, comes_back, stays_away, says_nothing):
        case(sys.argv[1], workspace, result)
result.end()
