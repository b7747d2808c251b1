#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds a test guest: build_guest.py BITS OUTPUT SOURCE... makes a Multiboot ELF32 file of freestanding C and assembly.

64-bit guests are linked as ELF64 and then written as ELF32, which is what Multiboot loaders take. BITS "symbols" writes the
ELF64 with its symbols instead, for gdb.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

bits, output, sources = sys.argv[1], sys.argv[2], sys.argv[3:]
lib = pathlib.Path(__file__).resolve().parent / "lib"
symbols = bits == "symbols"
bits = "64" if symbols else bits
compiler = os.environ.get("GUEST_CC", "gcc")
flags = [f"-m{bits}", "-O1", "-g0", "-ffreestanding", "-fno-pic", "-fno-pie", "-fno-stack-protector", "-mgeneral-regs-only",
         "-fno-asynchronous-unwind-tables", "-fcf-protection=none", "-fno-strict-aliasing", "-std=gnu17", "-nostdlib", "-static",
         "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-array-bounds", "-Wno-unused-variable", f"-I{lib}"]
if bits == "64":
    flags += ["-mno-red-zone"]
link = ["-no-pie", "-Wl,--build-id=none", "-Wl,-z,max-page-size=4096", "-Wl,--no-warn-rwx-segments", f"-Wl,-T,{lib}/link.ld"]
with tempfile.TemporaryDirectory() as work:
    linked = pathlib.Path(work) / "linked.elf"
    subprocess.run([compiler, *flags, *link, "-o", str(linked), *sources], check=True)
    if symbols:
        pathlib.Path(output).write_bytes(linked.read_bytes())
        sys.exit(0)
    subprocess.run(["objcopy", "-O", "elf32-i386", str(linked), output], check=True)
