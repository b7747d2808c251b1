#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images made by hand that lie: malformed_test.py FORMAT, or malformed_test.py --corpus FOLDER to write them as seeds for fuzz/.

xuni-img must refuse or read each with one line, in little time and memory, and never die of it. Where qemu-img refuses an image,
its text and status are ours; what it takes and we refuse is marked with the reason.
"""
import os
import pathlib
import re
import resource
import shutil
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OURS = os.environ.get("XUNI_IMG", str(ROOT / "build/xuni-img"))
PATIENCE = float(os.environ.get("XUNI_PATIENCE", "1"))
MEMORY = 1 << 30  # of address space; the sanitizers take more
SECONDS = 10


class Image:
    """Bytes to be patched: little-endian and big-endian numbers, text, and the length of the file."""

    def __init__(self, content):
        self.content = bytearray(content)

    def le(self, offset, fmt, *values):
        return self.put(offset, struct.pack("<" + fmt, *values))

    def be(self, offset, fmt, *values):
        return self.put(offset, struct.pack(">" + fmt, *values))

    def put(self, offset, data):
        self.content[len(self.content):offset + len(data)] = bytes(max(0, offset + len(data) - len(self.content)))
        self.content[offset:offset + len(data)] = data
        return self

    def cut(self, length):
        del self.content[length:]
        return self


def made(kind, size, *writes, options=()):
    """A good image of qemu-img's, with data at the places given as (pattern, offset, length)."""
    with tempfile.NamedTemporaryFile(suffix="." + kind) as file:
        subprocess.run(["qemu-img", "create", "-q", "-f", kind, *options, file.name, size], check=True)
        words = [word for pattern, offset, length in writes for word in ("-c", f"write -P {pattern} {offset} {length}")]
        if words:
            subprocess.run(["qemu-io", "-f", kind, *words, file.name], check=True, stdout=subprocess.DEVNULL)
        return pathlib.Path(file.name).read_bytes()


# --- vdi: header of 512 bytes, map of 4-byte entries, blocks of 1 MiB ---

def vdi(*entries, blocks=None, disk=None, allocated=None):
    """A header and a map; the blocks themselves are a hole behind the end of the file."""
    count = len(entries) if blocks is None else blocks
    image = Image(bytes(512)).put(0, b"<<< VM Disk Image >>>\n").le(0x40, "IIII", 0xbeda107f, 0x10001, 0x180, 1)
    image.le(0x154, "II", 512, 512 + (count * 4 + 511 & ~511) if count < 1 << 20 else 1 << 20).le(0x168, "I", 512)
    image.le(0x170, "QII", count << 20 if disk is None else disk, 1 << 20, 0)
    used = sum(entry < 0xfffffffe for entry in entries)
    image.le(0x180, "II", count, used if allocated is None else allocated)
    for i, entry in enumerate(entries):
        image.le(512 + i * 4, "I", entry)
    return image.put(max(1023, len(image.content) - 1), b"\0")


NONE = 0xffffffff


def vdi_images():
    yield "plain", vdi(0, NONE, 1), None
    yield "discarded", vdi(0xfffffffe, 0, NONE), None
    yield "no-blocks", vdi(blocks=0), None
    yield "odd-disk-size", vdi(0, NONE, disk=(1 << 20) + 7), None
    yield "bad-signature", vdi(0).le(0x40, "I", 0x12345678), None
    yield "bad-version", vdi(0).le(0x44, "I", 0x20003), None
    yield "bad-map-offset", vdi(0).le(0x154, "I", 513), None
    yield "bad-data-offset", vdi(0).le(0x158, "I", 1025), None
    yield "bad-sector-size", vdi(0).le(0x168, "I", 4096), None
    yield "bad-block-size", vdi(0).le(0x178, "I", 65536), None
    yield "bad-block-size-0", vdi(0).le(0x178, "I", 0), None
    yield "disk-beyond-map", vdi(0, disk=5 << 20), None
    yield "disk-huge", vdi(0, disk=1 << 63), None
    yield "disk-max", vdi(0, disk=(1 << 64) - 1), None
    yield "blocks-huge", vdi(blocks=0xffffffff, disk=1 << 20), None
    yield "link-uuid", vdi(0).put(0x1a8, b"x" * 16), None
    yield "parent-uuid", vdi(0).put(0x1b8, b"x" * 16), None
    yield "block-extra", vdi(0).le(0x17c, "I", 512), "unsupported VDI image"
    yield "map-beyond-end", vdi(blocks=0x1fffff80, disk=1 << 20), "does not lie inside the file"
    yield "map-over-header", vdi(0).le(0x154, "I", 0), "does not lie inside the file"
    yield "data-over-map", vdi(0, 1).le(0x158, "I", 512), "lie over the block map"
    yield "data-over-header", vdi(0).le(0x158, "I", 0), "lie over the block map"
    yield "entry-out-of-range", vdi(0, 7, NONE), "EIO"
    yield "entry-wild", vdi(0, 0xfffffffd, NONE), "EIO"
    yield "entry-twice", vdi(0, 0, NONE), None
    yield "all-twice", vdi(1, 1, 1, 1, NONE), None
    yield "count-too-high", vdi(0, NONE, NONE, allocated=3), "leak"
    yield "count-too-low", vdi(0, 1, NONE, allocated=1), None
    yield "hole-in-use", vdi(2, NONE, NONE, allocated=3), "leak"
    yield "cut-header", vdi(0).cut(300), None
    yield "cut-map", vdi(*[NONE] * 1000).cut(1024), "does not lie inside the file"
    yield "empty", Image(b""), None


FORMATS = {"vdi": vdi_images}


# --- running ---

def limit():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def run(program, *args):
    sanitized = "asan" in program or PATIENCE > 1
    done = subprocess.run([program, *args], capture_output=True, text=True, errors="replace", timeout=SECONDS * PATIENCE,
                          preexec_fn=limit if program == OURS and not sanitized else None)
    text = re.sub(r"^(xuni-img|qemu-img)\b", "IMG", done.stdout + done.stderr, flags=re.M)
    return done.returncode, re.sub(r"disk size: .*", "disk size: -", text)


class Checks:
    def __init__(self):
        self.failed = self.count = 0

    def holds(self, truth, what):
        self.count += 1
        if not truth:
            self.failed += 1
            print(f"FAILED  {what}")


def try_image(checks, kind, name, image, differs, folder):
    path = folder / f"{name}.{kind}"
    for args in (["info", "-f", kind], ["check", "-f", kind], ["map", "-f", kind, "--output=json"],
                 ["convert", "-f", kind, "-O", "qcow2"]):
        path.write_bytes(image.content)
        target = [str(folder / "out.qcow2")] if args[0] == "convert" else []
        ours = run(OURS, *args, str(path), *target)
        theirs = run("qemu-img", *args, str(path), *target) if differs in (None, "EIO", "leak") else None
        label = f"{kind} {name}: {args[0]}"
        checks.holds(ours[0] in (0, 1, 2, 3, 63), f"{label} ends with {ours}")
        if not differs:
            checks.holds(ours == theirs, f"{label}\n  qemu-img {theirs}\n  xuni-img {ours}")
        elif differs == "EIO":  # both read until the bad entry, the words differ
            checks.holds((ours[0] != 0) >= (args[0] == "convert"), f"{label} takes what is not there: {ours}")
        elif differs == "leak":
            wanted = (3, theirs[1]) if theirs[0] == 2 else theirs
            checks.holds(ours[0] == wanted[0], f"{label}: status\n  qemu-img {theirs}\n  xuni-img {ours}")
        else:
            checks.holds(ours[0] == 1 and differs in ours[1] and ours[1].count("\n") == 1, f"{label} does not say '{differs}': {ours}")
    # A guest writes all over it: no crash, and what is read back afterwards is what was written, or nothing was.
    path.write_bytes(image.content)
    status, text = run(OURS, "bench", "-f", kind, "-w", "-c", "24", "-s", "4096", "-S", "262144", "-t", "writeback", str(path))
    checks.holds(status in (0, 1), f"{kind} {name}: bench -w ends with {status} {text}")
    checks.holds(path.stat().st_size <= 1 << 34, f"{kind} {name}: the file grows to {path.stat().st_size} bytes")


def main(argument, *rest):
    if argument == "--corpus":
        for kind, images in FORMATS.items():
            folder = pathlib.Path(rest[0]) / kind
            folder.mkdir(parents=True, exist_ok=True)
            for name, image, _ in images():
                (folder / name).write_bytes(image.content)
        return 0
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="xuni-malformed-") as directory:
        for name, image, differs in FORMATS[argument]():
            try_image(checks, argument, name, image, differs, pathlib.Path(directory))
    print(f"{argument}: {checks.count} checks, {checks.failed} failed")
    return 1 if checks.failed else 0


if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
    print("skipped: qemu-img and qemu-io are not here (package qemu-utils)")
    sys.exit(77)
sys.exit(main(*sys.argv[1:]))
