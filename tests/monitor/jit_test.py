#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the translating engine says of itself: jit_test.py ELF LONG, guests of tests/guest in 64-bit code."""
import os
import pathlib
import re
import shutil
import subprocess
import sys

import vmm


def machine(elf, *extra, accel="translate"):
    return [vmm.VMM, "-accel", accel, "-nodefaults", "-display", "none", "-m", "64", "-kernel", elf, *extra]


def row(text, name):
    found = re.search(rf"^{name} +(\d+)", text, re.M)
    return int(found[1]) if found else None


def until_translated(qmp, tries=200):
    for _ in range(tries):
        text = qmp.call("x-query-jit")["return"]["human-readable-text"]
        if row(text, "translated blocks"):
            return text
    return text


def counters(checks, elf):
    with vmm.QmpMachine(machine(elf, "-qmp", "stdio", "-smp", "2", "-perfmap")) as m:
        m.qmp.call("qmp_capabilities")
        text = until_translated(m.qmp)
        checks.holds(row(text, "translated blocks") > 0, "blocks were translated")
        checks.holds(re.search(r"^gen code size +[1-9]\d*/[1-9]\d*$", text, re.M), "gen code size")
        checks.holds(row(text, "TB invalidate count") is not None and row(text, "entries") > 0, "counters")
        checks.holds("Translation buffer state:" in m.qmp.human("info jit"), "info jit")
        path = pathlib.Path(f"/tmp/perf-{m.process.pid}.map")
        lines = path.read_text().splitlines()
        checks.holds(lines and all(re.fullmatch(r"[0-9a-f]+ [0-9a-f]+ guest-[a-z-]+:[0-9a-f]+", line) for line in lines), "perf map")
        m.quit()
        path.unlink()
    with vmm.QmpMachine(machine(elf, "-qmp", "stdio", accel="interp")) as m:
        m.qmp.call("qmp_capabilities")
        wanted = "JIT information is only available with accel=translate"
        checks.same(m.qmp.call("x-query-jit")["error"]["desc"], wanted, "nothing to say under interp")
        m.quit()


def default_order(checks, elf):
    with vmm.QmpMachine([vmm.VMM, "-nodefaults", "-display", "none", "-m", "64", "-kernel", elf, "-qmp", "stdio"]) as m:
        m.qmp.call("qmp_capabilities")
        accel = m.qmp.call("x-query-accel")["return"]
        flags = pathlib.Path("/proc/cpuinfo").read_text().split()
        hardware = os.access("/dev/kvm", os.R_OK | os.W_OK) and ("vmx" in flags or "svm" in flags)
        checks.same(accel["accel"], "kvm" if hardware else "translate", "the engine of a machine that names none")
        checks.holds(accel["report"].startswith("kvm: "), "why not KVM, or that it is")
        m.quit()


def texts(checks, elf):
    with vmm.Folder() as folder:
        log = folder.path / "log"
        done = subprocess.run(machine(elf, "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-d", "in_asm,op,out_asm", "-D", str(log)),
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=vmm.PATIENCE * 4)
        checks.same(done.returncode, 33, "the guest ends well with -d in_asm,op,out_asm")
        text = log.read_text()
        block = re.search(r"^IN: CPU 0\n(0x.*\n)+OP:\n( .*\n)+OUT: \[size=\d+\]\n(  -- .*\n|0x.*\n)+", text, re.M)
        checks.holds(block, "guest code, decisions, host code of a block")
        checks.holds(re.search(r"^ 0x[0-9a-f]+: \S+: (copy|memory) at \+0x", text, re.M), "an instruction's classification")


def perf_names(checks, elf):
    """Linux perf finds the names: the map is only looked up for memory that it takes for anonymous."""
    with vmm.Folder() as folder:
        data = folder.path / "data"
        if not shutil.which("perf") or subprocess.run(["perf", "record", "-e", "cpu-clock", "-o", str(data), "true"], capture_output=True).returncode:
            print("SKIPPED: perf is not there, or may not record here")
            return
        done = subprocess.Popen(["perf", "record", "-e", "cpu-clock", "-F", "9999", "-o", str(data),
                                 *machine(elf, "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-perfmap")],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        done.communicate(timeout=vmm.PATIENCE * 4)
        report = subprocess.run(["perf", "report", "-i", str(data), "--stdio", "--sort", "symbol"], capture_output=True, text=True, check=True)
        checks.holds(re.search(r"\[\.\] guest-kernel:[0-9a-f]+", report.stdout), f"perf names translated code: {report.stdout}")
        pids = subprocess.run(["perf", "script", "-i", str(data), "-F", "pid"], capture_output=True, text=True, check=True).stdout.split()
        for pid in set(pids):
            pathlib.Path(f"/tmp/perf-{pid}.map").unlink(missing_ok=True)


def main():
    checks = vmm.Checks()
    default_order(checks, sys.argv[1])
    counters(checks, sys.argv[1])
    texts(checks, sys.argv[1])
    perf_names(checks, sys.argv[2])
    checks.end()


main()
