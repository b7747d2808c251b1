#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest on disks of another format: format_vm_test.py FORMAT ENGINE. The guest writes a raw disk and a file system; then qemu-img
reads what it wrote. The second disk lies over a parent where the format has that."""
import hashlib
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "boot"))
from machine import Checks, Workspace, engine_or_skip, skip  # noqa: E402

# Options of create: of the disk that is new, of the one with the file system.
FORMATS = {
    "qcow": ([], []),
    "vdi": ([], ["-o", "static=on"]),
    "vpc": ([], ["-o", "subformat=fixed,force_size=on"]),
    "vmdk": (["-o", "subformat=twoGbMaxExtentSparse"], ["-o", "zeroed_grain=on"]),
    "vhdx": (["-o", "block_size=1M"], ["-o", "subformat=fixed"]),
}

NO_CHECK = 63  # exit status: the format has no checks


def qemu_img(*args):
    return subprocess.run(["qemu-img", *map(str, args)], capture_output=True, text=True)


def run(image_format, engine, work, checks):
    fresh_options, filled_options = FORMATS[image_format]
    tree = work.path / "fs"
    tree.mkdir()
    (tree / "from-host").write_text("made on the host\n")
    base = work.disk("base.raw", 64)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(base)], check=True)
    fresh, filled = (work.path / f"{name}.{image_format}" for name in ("fresh", "filled"))
    top = filled
    qemu_img("create", "-f", image_format, *fresh_options, fresh, "64M")
    qemu_img("convert", "-O", image_format, *filled_options, base, filled)
    if image_format in ("vmdk", "qcow"):
        top = work.path / f"top.{image_format}"
        qemu_img("create", "-f", image_format, "-b", filled, "-F", image_format, top)

    status, text = work.boot(engine, "quiet xuni=test-disk", "-drive", f"file={fresh},format={image_format},if=virtio",
                             "-drive", f"file={top},format={image_format},if=virtio,discard=unmap", "-no-reboot")
    checks.holds(status == 0, "exit status 0")
    for line in ["raw read-back ok", "file from the host ok", "file system read-back ok", "test-disk done"]:
        checks.holds(line in text, line)
    for image in (fresh, top):
        checks.holds(qemu_img("check", "-f", image_format, image).returncode in (0, NO_CHECK),
                     f"qemu-img check finds {image.name} clean")
    flat = work.path / "flat.raw"
    qemu_img("convert", "-f", image_format, "-O", "raw", fresh, flat)
    wanted = hashlib.sha256(flat.read_bytes()[:8 << 20]).hexdigest()
    checks.holds(f"host-sum {wanted}" in text, "qemu-img reads what the guest wrote")
    qemu_img("convert", "-f", image_format, "-O", "raw", top, flat)
    fsck = subprocess.run(["e2fsck", "-fn", str(flat)], capture_output=True)
    checks.holds(fsck.returncode == 0, "e2fsck finds the guest's file system clean")
    if checks.failed:
        print(text[-3000:])


if not shutil.which("qemu-img"):
    skip("qemu-img is not here (package qemu-utils)")
engine_or_skip(sys.argv[2])
with Workspace() as workspace:
    result = Checks()
    run(sys.argv[1], sys.argv[2], workspace, result)
result.end()
