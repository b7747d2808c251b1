#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest on qcow2 disks: vm_test.py ENGINE. One fresh image, one at the end of a chain of three, one with snapshot=on."""
import hashlib
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "boot"))
from machine import Checks, Workspace, engine_or_skip, skip  # noqa: E402


def qemu_img(*args):
    return subprocess.run(["qemu-img", *map(str, args)], capture_output=True, text=True)


def run(engine, work, checks):
    tree = work.path / "fs"
    tree.mkdir()
    (tree / "from-host").write_text("made on the host\n")
    base = work.disk("base.raw", 64)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(base)], check=True)
    before = hashlib.sha256(base.read_bytes()).hexdigest()
    fresh, middle, top = (work.path / name for name in ("fresh.qcow2", "middle.qcow2", "top.qcow2"))
    qemu_img("create", "-f", "qcow2", fresh, "64M")
    qemu_img("create", "-f", "qcow2", "-b", base, "-F", "raw", middle)
    qemu_img("create", "-f", "qcow2", "-b", middle, "-F", "qcow2", top)

    status, text = work.boot(engine, "quiet xuni=test-disk", "-drive", f"file={fresh},format=qcow2,if=virtio",
                             "-drive", f"file={top},format=qcow2,if=virtio,discard=unmap", "-no-reboot")
    checks.holds(status == 0, "exit status 0")
    for line in ["raw read-back ok", "file from the host ok", "file system read-back ok", "test-disk done"]:
        checks.holds(line in text, line)
    for image in (fresh, middle, top):
        checks.holds(qemu_img("check", image).returncode == 0, f"qemu-img check finds {image.name} clean")
    flat = work.path / "flat.raw"
    qemu_img("convert", "-O", "raw", fresh, flat)
    wanted = hashlib.sha256(flat.read_bytes()[:8 << 20]).hexdigest()
    checks.holds(f"host-sum {wanted}" in text, "qemu-img reads what the guest wrote")
    qemu_img("convert", "-O", "raw", top, flat)
    fsck = subprocess.run(["e2fsck", "-fn", str(flat)], capture_output=True)
    checks.holds(fsck.returncode == 0, "e2fsck finds the guest's file system clean at the top of the chain")
    checks.holds(hashlib.sha256(base.read_bytes()).hexdigest() == before, "the base is as it was")

    sums = [hashlib.sha256(image.read_bytes()).hexdigest() for image in (fresh, top)]
    status, text = work.boot(engine, "quiet xuni=test-disk", "-drive", f"file={fresh},format=qcow2,if=virtio,snapshot=on",
                             "-drive", f"file={top},if=virtio,snapshot=on", "-no-reboot")
    checks.holds(status == 0 and "test-disk done" in text, "the same with snapshot=on")
    checks.holds([hashlib.sha256(image.read_bytes()).hexdigest() for image in (fresh, top)] == sums,
                 "snapshot=on leaves the images as they were")
    if checks.failed:
        print(text[-3000:])


if not shutil.which("qemu-img"):
    skip("qemu-img is not here (package qemu-utils)")
engine_or_skip(sys.argv[1])
with Workspace() as workspace:
    result = Checks()
    run(sys.argv[1], workspace, result)
result.end()
