#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs one test guest: guest_test.py ENGINE TOPIC [ELF].

ENGINE is anything that -accel takes ("translate,verify=on"), or "peer" for qemu-system-x86_64 -accel tcg. The guest prints "ok NAME" or
"FAILED NAME: ..." a check and ends the machine through isa-debug-exit: status 33 when all passed, 35 when not. Resets end
with status 0 (-no-reboot). A check that deviations.txt lists for the engine may fail, and is printed loudly when it does.

Environment: XUNI_VMM the program, GUEST_DIR where the built guests lie, GUEST_PEER the peer's program.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "boot"))
from machine import kvm_is_software  # noqa: E402

SKIPPED = 77
PASSED_STATUS, FAILED_STATUS, RESET_STATUS = 33, 35, 0
LIMIT_SECONDS = float(os.environ.get("GUEST_LIMIT_SECONDS", "60"))

# Topics that need more than one CPU, or that end by a reset.
CPUS = {"smp": 4, "torture": 4, "gdb": 2}
DEVICES = {"machine": ["-device", "virtio-rng-pci"]}
RESETS = {"reset_keyboard", "reset_cf9", "reset_triple", "reset_acpi"}


def kvm_in_software():
    """A host without VMX and SVM: its KVM emulates."""
    flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    return "vmx" not in flags and "svm" not in flags


def deviations(engine, topic):
    """{check name: reason} of deviations.txt: lines of ENGINE TOPIC | CHECK | REASON; CHECK * for a whole topic."""
    known = {}
    name = engine.split(",")[0]
    names = [name, "kvm-software"] if name == "kvm" and kvm_in_software() else [name]
    for line in (HERE / "deviations.txt").read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        where, check, reason = (part.strip() for part in line.split("|", 2))
        if where.split()[0] in names and where.split()[1] == topic:
            known[check] = reason
    return known


def skip(reason):
    print(f"SKIPPED: {reason}")
    sys.exit(SKIPPED)


def command(engine, topic, elf, log):
    if engine == "peer":
        program = os.environ.get("GUEST_PEER") or shutil.which("qemu-system-x86_64")
        if not program:
            skip("no peer: qemu-system-x86_64 is not installed (apt-get install qemu-system-x86)")
        engine = "tcg"
    else:
        program = os.environ.get("XUNI_VMM", "xuni-vmm")
        if engine == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
            skip("engine kvm: /dev/kvm is missing or may not be opened; the guest was NOT tested there")
        if engine == "kvm" and topic in ("torture", "loops32") and kvm_is_software():
            skip("engine kvm: a KVM in software has no 32-bit paging, and code patched by breakpoints hangs (docs/support.md, C3); NOT tested there")
    return [program, "-accel", engine, "-nodefaults", "-display", "none", "-vga", "none", "-m", "64",
            "-cpu", os.environ.get("GUEST_CPU", "max"),
            "-smp", str(CPUS.get(topic, 1)), "-kernel", str(elf), "-no-reboot", "-append", engine.split(",")[0],
            "-device", "isa-debug-exit,iobase=0xf4,iosize=0x4", "-chardev", f"file,id=log,path={log}",
            "-device", "isa-debugcon,iobase=0xe9,chardev=log", *DEVICES.get(topic, [])]


def run(engine, topic, elf):
    with tempfile.TemporaryDirectory() as work:
        log = pathlib.Path(work) / "log"
        complaint, status = "", None
        try:
            done = subprocess.run(command(engine, topic, elf, log), capture_output=True, text=True, errors="replace",
                                  stdin=subprocess.DEVNULL, timeout=LIMIT_SECONDS)
            status, complaint = done.returncode, done.stdout + done.stderr
        except subprocess.TimeoutExpired as e:
            complaint = f"no end within {LIMIT_SECONDS:g} s\n" + (e.stderr or b"").decode(errors="replace")
        text = log.read_text(errors="replace") if log.exists() else ""
    return status, text, complaint


def judge(engine, topic, status, text, complaint):
    known = deviations(engine, topic)
    failed, deviant, passed = [], 0, 0
    for line in text.splitlines():
        if line.startswith("ok "):
            passed += 1
        elif line.startswith("FAILED "):
            name = line[7:].split(":")[0].strip()
            reason = known.get(name) or known.get("*")
            if reason:
                deviant += 1
                print(f"KNOWN DEVIATION of {engine}: {line[7:]} -- {reason}")
            else:
                failed.append(line)
        elif line.startswith("skip "):
            print(line)
    wanted = [RESET_STATUS] if topic in RESETS else [PASSED_STATUS, FAILED_STATUS]
    ended = status in wanted and (topic in RESETS or "done: " in text)
    if not ended:
        reason = known.get("end") or known.get("*")
        where = text.splitlines()[-1] if text else "(no output)"
        if reason:
            deviant += 1
            print(f"KNOWN DEVIATION of {engine}: {topic} ends with status {status} after '{where}' -- {reason}")
        else:
            failed.append(f"FAILED {topic}: ended with status {status}, last line '{where}'")
    for line in failed[:60]:
        print(line)
    if complaint:
        print(complaint[-20000:])
    print(f"{topic} in {engine}: {passed} passed, {len(failed)} failed, {deviant} known deviations")
    return not failed and passed + deviant > 0


def main():
    engine, topic = sys.argv[1:3]
    elf = sys.argv[3] if len(sys.argv) > 3 else pathlib.Path(os.environ.get("GUEST_DIR", ".")) / f"{topic}.elf"
    status, text, complaint = run(engine, topic, elf)
    if os.environ.get("GUEST_VERBOSE"):
        print(text)
    sys.exit(0 if judge(engine, topic, status, text, complaint) else 1)


if __name__ == "__main__":
    main()
