#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine in full write load, killed with SIGKILL again and again: kill_test.py ENGINE KILLS [SEED [FORMAT...]].

The guest (kill_writer.c) writes, discards and zeroes at the same disk in every life, in several threads, and says
over its serial port what has been flushed. After each kill the image must have no fault but leaks, to qemu-img and to
xuni-img, and each block must hold what was there at the last flush or something that was written after it.
"""
import os
import pathlib
import random
import re
import select
import shutil
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "boot"))
from machine import PATIENCE, Checks, Workspace, engine_or_skip, skip  # noqa: E402

BLOCK, SECTOR, MOST, THREADS_MAX = 4096, 512, 64, 8
MIB = 96
XUNI_IMG = os.environ.get("XUNI_IMG", "build/xuni-img")
# What the image and the drive are made with, in turn.
QCOW2 = ["cluster_size=64k", "cluster_size=4k,refcount_bits=8", "lazy_refcounts=on,cluster_size=16k", "preallocation=metadata", "extended_l2=on"]
OPTIONS = {"qcow2": QCOW2, "vmdk": ["subformat=monolithicSparse", "subformat=twoGbMaxExtentSparse"], "vhdx": ["block_size=1M", "log_size=2M"],
           "vdi": ["static=off"], "vpc": ["force_size=on"], "qcow": ["encryption=off"]}
# Exit status 63: the format has no checks. To qemu-img a vdi that counts a block too many is damaged, to us that is a leak.
NO_CHECK, STRICT_COUNT = 63, ("qemu-img", "vdi")
DRIVES = ["discard=unmap", "cache=none,discard=unmap", "aio=threads,discard=unmap,detect-zeroes=unmap", "cache=writethrough"]
ZERO = None


class Stream:
    """What one thread of the guest does, step by step as kill_writer.c."""

    def __init__(self, seed, first, count):
        self.seed, self.first, self.count = seed, first, count
        self.state = seed * 2654435761 & 0xffffffff
        self.operation = 0

    def next(self):
        state = self.state
        state ^= state << 13 & 0xffffffff
        state ^= state >> 17
        state ^= state << 5 & 0xffffffff
        self.state = state
        return state

    def batch(self):
        """[(first block, blocks, kind, number)]; kind is "write", "discard" or "zero"."""
        steps = []
        count = 1 + self.next() % 24
        for i in range(count):
            kind = 12 + self.next() % 4 if i + 1 == count else self.next() % 16
            length = 1 + self.next() % (4 if kind < 8 else MOST)
            block = self.first + self.next() % (self.count - length)
            self.operation += 1
            steps.append((block, length, "write" if kind < 14 else "discard" if kind == 14 else "zero", self.operation))
        return steps


class Model:
    """For every block the set of contents that it may have: ZERO, or (seed, operation)."""

    def __init__(self, blocks, unit):
        self.may_be = [{ZERO} for _ in range(blocks)]
        self.unit = unit  # what the host writes whole: what a kill interrupts ends at a page, and those of a vpc are not aligned

    def apply(self, steps, seed, durable):
        for block, length, kind, number in steps:
            content = (seed, number) if kind == "write" else ZERO
            for b in range(block, block + length):
                # A discard is a hint; and what has not been flushed may be there or not.
                if durable and kind != "discard":
                    self.may_be[b] = {content}
                else:
                    self.may_be[b] = self.may_be[b] | {content}

    def compare(self, raw):
        """Wrong blocks as text; afterwards each block is what it is."""
        wrong = []
        with open(raw, "rb") as f:
            for b, allowed in enumerate(self.may_be):
                self.may_be[b] = set()
                for _ in range(BLOCK // self.unit):
                    data = f.read(self.unit)
                    magic, block, seed, operation = struct.unpack_from("<IIII", data)
                    found = ZERO if not any(data) else (seed, operation)
                    if data != data[:16] * (self.unit // 16) or (found is not ZERO and (magic, block) != (0x4b494c4c, b)):
                        wrong.append(f"block {b} is torn or another's: {data[:16].hex()}")
                    elif found not in allowed:
                        wrong.append(f"block {b} holds {found}, may be {sorted(map(str, allowed))}")
                    self.may_be[b].add(found)
        return wrong


def lives(command, pick):
    """Runs until some time after every thread has flushed once; returns how far each thread said it was, and the text."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline, text, kill_at = time.monotonic() + 120 * PATIENCE, b"", None
    while process.poll() is None:
        now = time.monotonic()
        if now >= (kill_at or deadline):
            break
        if select.select([process.stdout], [], [], min((kill_at or deadline) - now, 1))[0]:
            text += os.read(process.stdout.fileno(), 65536)
        if kill_at is None and re.search(rb"flushed \d+ \d+\r?\n", text):
            kill_at = time.monotonic() + pick.random() * 0.8
    process.kill()
    text += process.stdout.read()
    process.wait()
    flushed = {int(thread): int(count) for thread, count in re.findall(rb"flushed (\d+) (\d+)\r?\n", text)}
    return flushed, text.decode(errors="replace")


def settled(arguments):
    """Runs a tool; again while the kernel still takes down what the killed process had in its io_uring."""
    deadline = time.monotonic() + 20 * PATIENCE
    while True:
        result = subprocess.run(arguments, capture_output=True, text=True)
        if "lock" not in result.stderr or time.monotonic() > deadline:
            return result
        time.sleep(0.02)


def check_image(image, life, checks):
    image_format = image.suffix[1:]
    if image_format == "vhdx":  # qemu-img reads none whose log is in use
        settled([XUNI_IMG, "check", "-r", "all", "-f", "vhdx", str(image)])
    for tool in ("qemu-img", XUNI_IMG):
        result = settled([tool, "check", "-f", image_format, str(image)])
        # 3: leaks and nothing else.
        good = result.returncode in (0, 3, NO_CHECK) or (tool, image_format, result.returncode) == (*STRICT_COUNT, 2)
        checks.holds(good, f"{life}: {pathlib.Path(tool).name} check finds nothing worse than leaks")
        if not good:
            print(result.stdout[-2000:] + result.stderr[-2000:])


def one_life(work, engine, image, drive, seed, model, checks, pick):
    threads = pick.randrange(1, 5)
    share = (MIB << 20) // BLOCK // threads
    command = work.command(engine, f"quiet xuni=kill-guest xuni.writer={seed},{threads},{(MIB << 20) // BLOCK}", "-no-reboot", "-drive",
                           f"file={image},format={image.suffix[1:]},if=virtio,{drive}")
    flushed, text = lives(command, pick)
    checks.holds(bool(flushed), f"life {seed}: the guest wrote ({drive}; {threads} threads; {sum(flushed.values())} operations flushed)")
    if not flushed:
        print(text[-2000:])
    for thread in range(threads):
        stream = Stream(seed * THREADS_MAX + thread + 1, thread * share, share)
        while stream.operation < flushed.get(thread, 0):
            model.apply(stream.batch(), stream.seed, True)
        checks.holds(stream.operation == flushed.get(thread, 0) or not flushed.get(thread), f"life {seed}: thread {thread} stopped where a batch ends")
        # The line of one batch may have been on its way through the machine when that was killed.
        model.apply(stream.batch(), stream.seed, False)
        model.apply(stream.batch(), stream.seed, False)
    check_image(image, f"life {seed}", checks)
    raw = work.path / "flat.raw"
    result = settled(["qemu-img", "convert", "-f", image.suffix[1:], "-O", "raw", str(image), str(raw)])
    checks.holds(result.returncode == 0, f"life {seed}: qemu-img reads the image")
    wrong = model.compare(raw) if result.returncode == 0 else []
    checks.holds(not wrong, f"life {seed}: what was flushed is there")
    for line in wrong[:10]:
        print("        " + line)
    raw.unlink(missing_ok=True)


def run(engine, kills, seed, formats, work, checks):
    pick = random.Random(seed)
    images = [(image_format, options) for image_format in formats for options in OPTIONS[image_format]]
    per_image = max(3, kills // len(images))
    for life in range(kills):
        if life % per_image == 0:
            image_format, options = images[life // per_image % len(images)]
            image, model = work.path / f"disk{life}.{image_format}", Model((MIB << 20) // BLOCK, SECTOR if image_format == "vpc" else BLOCK)
            subprocess.run(["qemu-img", "create", "-q", "-f", image_format, "-o", options, str(image), f"{MIB}M"], check=True)
            print(f"{image_format} with {options}")
        one_life(work, engine, image, DRIVES[life % len(DRIVES)], seed + life, model, checks, pick)
        if checks.failed:
            keep = pathlib.Path(os.environ.get("XUNI_KEEP", "/nonexistent"))
            if keep.is_dir():
                shutil.copy(image, keep / image.name)
            break


def main():
    engine, kills = sys.argv[1], int(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1, 1 << 20)
    formats = sys.argv[4:] or ["qcow2"]
    if not shutil.which("qemu-img"):
        skip("qemu-img is not here (package qemu-utils)")
    engine_or_skip(engine)
    print(f"kill_test.py {engine} {kills} {seed} {' '.join(formats)}", flush=True)
    checks = Checks()
    with Workspace() as work:
        work.add("bin/kill-writer", pathlib.Path(os.environ["XUNI_KILL_WRITER"]))
        run(engine, kills, seed, formats, work, checks)
    checks.end()


if __name__ == "__main__":
    main()
