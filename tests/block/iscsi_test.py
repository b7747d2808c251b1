#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""iSCSI units of tgtd on loopback as disks: iscsi_test.py [GROUP], beside qemu-img."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from http_test import free_port  # noqa: E402
from nbd_client_test import both, extents  # noqa: E402
from nbd_server_test import IMG, MIB, PATIENCE, Failed, need, noise, run, same_bytes, wait_for  # noqa: E402

NAME = "iqn.2026-01.test.xuni"


class Target:
    """tgtd with one target; units are (file, options of tgtadm, attributes)."""

    def __init__(self, folder, *units, user=None):
        self.folder, self.port, self.units, self.user = folder, free_port(), units, user
        self.control = str(20000 + os.getpid() % 10000)
        self.start()

    def admin(self, *words):
        run("tgtadm", "-C", self.control, "--lld", "iscsi", *words)

    def start(self):
        self.process = subprocess.Popen(["tgtd", "-f", "-C", self.control, "--iscsi", f"portal=127.0.0.1:{self.port}"], stderr=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL)
        wait_for(lambda: subprocess.run(["tgtadm", "-C", self.control, "--mode", "system", "--op", "show"], capture_output=True).returncode == 0, "tgtd")
        self.admin("--op", "new", "--mode", "target", "--tid", "1", "-T", NAME)
        for number, (file, options, attributes) in enumerate(self.units, 1):
            unit = ["--mode", "logicalunit", "--tid", "1", "--lun", str(number)]
            self.admin("--op", "new", *unit, "-b", file, *options)
            if attributes:
                self.admin("--op", "update", *unit, "-P", attributes)
        if self.user:
            self.admin("--op", "new", "--mode", "account", "--user", self.user[0], "--password", self.user[1])
            self.admin("--op", "bind", "--mode", "account", "--tid", "1", "--user", self.user[0])
        self.admin("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")

    def stop(self):
        self.process.kill()
        self.process.wait()

    def url(self, lun=1, user=""):
        return f"iscsi://{user}127.0.0.1:{self.port}/{NAME}/{lun}"

    def described(self, lun=1, **more):
        return "json:" + json.dumps({"driver": "raw", "file": {"driver": "iscsi", "transport": "tcp", "portal": f"127.0.0.1:{self.port}", "target": NAME,
                                                               "lun": lun, **more}})

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


def group_data(folder):
    source, back = noise(folder / "source", 24), folder / "back"
    with open(source, "r+b") as f:
        f.seek(3 * MIB)
        f.write(bytes(7 * MIB))
    files = [folder / name for name in ("plain", "wide", "thin", "locked")]
    for file in files:
        file.write_bytes(bytes(24 * MIB))
    with Target(folder, (files[0], [], ""), (files[1], ["--blocksize=4096"], ""), (files[2], [], "thin_provisioning=1"), (files[3], [], "readonly=1")) as target:
        for lun in (1, 2, 3):
            url = target.url(lun)
            ours, theirs = both("info", url)
            need(ours[0] == theirs[0] == 0 and ours[1].splitlines()[1:] == theirs[1].splitlines()[1:], f"info: {ours} is not {theirs}")
            run(IMG, "convert", "-n", "-f", "raw", "-O", "raw", source, url)
            run("qemu-img", "compare", "-f", "raw", "-F", "raw", source, url)
            run(IMG, "compare", "-f", "raw", "-F", "raw", source, url)
            run(IMG, "convert", "-f", "raw", "-O", "raw", url, back)
            same_bytes(source, back, f"unit {lun}: there and back")
            for program, name in ((IMG, url), ("qemu-img", source)):
                run(program, "bench", "-f", "raw", "-w", "--pattern=65", "-c", "64", "-d", "8", "-s", "1000", "-S", "5000", "-o", "12345", "--flush-interval=16", name)
            run(IMG, "compare", "-f", "raw", "-F", "raw", source, url)
            ours, theirs = both("map", "--output=json", url)
            need(ours[0] == theirs[0] == 0 and extents(ours[1]) == extents(theirs[1]), f"unit {lun}: map: {ours} is not {theirs}")
            need(run(IMG, "bench", "-f", "raw", "-w", "-c", "20", "-s", "3M", "-S", "512", "-d", "4", url).returncode == 0, "large requests")
            run(IMG, "convert", "-n", "-f", "raw", "-O", "raw", source, url)
        # Trimmed and zeroed through an export of ours.
        server = subprocess.Popen([IMG, "export", "-t", "-f", "raw", "--discard=unmap", "-k", str(folder / "s"), target.url(3)])
        try:
            wait_for(lambda: (folder / "s").exists(), "server")
            run("qemu-io", "-f", "raw", "-c", "discard 12M 4M", "-c", "write -z -u 16M 2M", "-c", "write -z 18M 1M", "-c", "write -f -P 7 20M 64k",
                "-c", "flush", "-c", "read -P 0 16M 3M", "-c", "read -P 7 20M 64k", f"nbd+unix:///?socket={folder}/s")
        finally:
            server.terminate()
            server.wait()
        need(files[2].stat().st_blocks * 512 < 20 * MIB, "UNMAP reached the file of the thin unit")
        done = run(IMG, "create", "-f", "raw", target.url(4), "1M", check=False)
        need(done.returncode == 1 and "write protected" in done.stderr, f"a write-protected unit: {done.stderr}")
        run(IMG, "info", target.url(4))
        run(IMG, "info", target.described(2, **{"initiator-name": "iqn.2026-01.test.me", "header-digest": "crc32c"}))
        # qcow2 on a unit: one that fits, one that does not.
        run(IMG, "convert", "-c", "-f", "raw", "-O", "qcow2", source, target.url(1))
        run(IMG, "compare", "-f", "qcow2", "-F", "raw", target.url(1), source)
        run("qemu-img", "check", "-f", "qcow2", files[0])
        full = noise(folder / "full", 24)
        done = run(IMG, "convert", "-f", "raw", "-O", "qcow2", full, target.url(1), check=False)
        need(done.returncode == 1 and "No space left" in done.stderr, f"an image that does not fit: {done.stderr}")


def group_errors(folder):
    file = folder / "plain"
    file.write_bytes(bytes(MIB))
    with Target(folder, (file, [], "")) as target:
        for name in (target.url(9), target.url().replace("xuni", "none"), "iscsi://127.0.0.1:1/iqn.2026-01.test/1", target.url(0), "iscsi://127.0.0.1/x",
                     "iscsi://", "iscsi:///a/1"):
            done = run(IMG, "info", "-f", "raw", name, check=False)
            need(done.returncode == 1 and done.stderr.count("\n") == 1 and name in done.stderr, f"{name}: {done}")
        for more in ({"header-digest": "x"}, {"transport": "iser"}, {"password": "a", "password-secret": "b"}, {"lun": "x"}, {"nosuch": "x"}):
            done = run(IMG, "info", target.described(**more), check=False)
            need(done.returncode == 1 and list(more)[0] in done.stderr, f"{more}: {done.stderr}")
    with Target(folder, (file, [], ""), user=("me", "twelve-bytes!")) as target:
        need(run(IMG, "info", target.url(), check=False).returncode == 1, "a target that wants a password")
        need(run(IMG, "info", target.url(user="me%wrong-password@"), check=False).returncode == 1, "a wrong password")
        run(IMG, "info", target.url(user="me%twelve-bytes!@"))
        run(IMG, "info", "--object", "secret,id=s,data=twelve-bytes!", target.described(user="me", **{"password-secret": "s"}))


def group_reconnect(folder):
    file = folder / "disk"
    file.write_bytes(bytes(16 * MIB))
    with Target(folder, (file, [], "")) as target:
        def bench(count, **more):
            return subprocess.Popen([IMG, "bench", "-f", "raw", "-w", "--pattern=66", "-c", str(count), "-d", "4", "-s", "4096", target.described(**more)],
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

        client = subprocess.Popen([IMG, "bench", "-f", "raw", "-w", "--pattern=66", "-c", "20000", "-d", "1", "-s", "512", target.described()],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for done in (1000, 3000):
            wait_for(lambda: file.read_bytes().count(b"B") > done * 512, f"{done} writes")
            target.stop()
            need(client.poll() is None, "it waits")
            target.start()
        out, err = client.communicate(timeout=60 * PATIENCE)
        need(client.returncode == 0, f"commands were repeated: {err}")
        need(file.read_bytes()[:20000 * 512] == b"B" * 20000 * 512, "and none was lost")
        client = bench(100000, timeout=2)
        time.sleep(0.5)
        target.stop()
        begin = time.monotonic()
        out, err = client.communicate(timeout=60 * PATIENCE)
        need(client.returncode == 1 and "Input/output error" in err, f"timeout=2: {err}")
        need(1.5 < time.monotonic() - begin < 30 * PATIENCE, f"after {time.monotonic() - begin:.1f} s")
        target.start()
        client = bench(2000)
        time.sleep(0.3)
        target.process.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        target.process.send_signal(signal.SIGCONT)
        out, err = client.communicate(timeout=60 * PATIENCE)
        need(client.returncode == 0, f"after a pause: {err}")


GROUPS = {"data": group_data, "errors": group_errors, "reconnect": group_reconnect}

if __name__ == "__main__":
    if not (pathlib.Path(IMG).parent / "block-iscsi.so").exists():
        print("skipped: the iscsi module was not built (package libiscsi-dev)")
        sys.exit(77)
    for tool, package in (("qemu-img", "qemu-utils and qemu-block-extra"), ("tgtd", "tgt")):
        if not shutil.which(tool):
            print(f"skipped: {tool} is not here (package {package})")
            sys.exit(77)
    if os.geteuid():
        print("skipped: tgtd wants to be root")
        sys.exit(77)
    bad = 0
    for group in sys.argv[1:] or GROUPS:
        with tempfile.TemporaryDirectory(prefix="xuni-iscsi-") as directory:
            try:
                GROUPS[group](pathlib.Path(directory))
                print(f"ok      {group}")
            except Failed as failure:
                print(f"FAILED  {group}: {failure}")
                bad += 1
    sys.exit(1 if bad else 0)
