#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's kernel in a machine: boot_test.py ENGINE CASE."""
import hashlib
import os
import re
import shutil
import subprocess
import sys

from machine import GUEST, Checks, WebServer, Workspace, engine_or_skip, kvm_is_software, skip


def report(engine, work, checks):
    web = WebServer(1)
    disk = work.disk("disk.raw", 16)
    status, text = work.boot(engine, f"xuni=report xuni_http={web.port}", "-smp", "2", "-no-reboot",
                             "-drive", f"file={disk},format=raw,if=virtio", "-nic", "user,model=virtio-net-pci")
    checks.holds(status == 0, f"power-off ends the VMM with exit status 0 (was {status})")
    checks.holds("cpus:    2" in text, "two CPUs")
    checks.holds("disk:    vda, 16 MiB" in text, "the disk and its size")
    checks.holds("network: eth0 10.0.2.15/24" in text, "an address by DHCP")
    checks.holds("report complete" in text, "report complete")
    complaints = ["rcu_sched self-detected stall", "Kernel panic", "BUG:", "Oops", "MWAIT"]
    if engine != "kvm":  # a KVM that runs in software cannot offset the TSC of its vCPUs
        complaints.append("unstable")
    for complaint in complaints:
        checks.holds(complaint not in text, f"no '{complaint}'")
    if checks.failed:
        print(text[-4000:])


def disk(engine, work, checks):
    raw = work.disk("raw.img", 64)
    tree = work.path / "fs"
    tree.mkdir()
    (tree / "from-host").write_text("made on the host\n")
    ext4 = work.disk("ext4.img", 64)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(ext4)], check=True)
    status, text = work.boot(engine, "quiet xuni=test-disk", "-drive", f"file={raw},format=raw,if=virtio",
                             "-drive", f"file={ext4},format=raw,if=virtio", "-no-reboot")
    checks.holds(status == 0, "exit status 0")
    for line in ["raw read-back ok", "file from the host ok", "file system read-back ok", "test-disk done"]:
        checks.holds(line in text, line)
    wanted = hashlib.sha256(raw.read_bytes()[:8 << 20]).hexdigest()
    checks.holds(f"host-sum {wanted}" in text, "the host reads what the guest wrote")
    fsck = subprocess.run(["e2fsck", "-fn", str(ext4)], capture_output=True)
    checks.holds(fsck.returncode == 0, "e2fsck finds the guest's file system clean")


def make_disc(work):
    """An ISO 9660 image; returns its path and the sum of its file big."""
    if not shutil.which("xorriso"):
        skip("no xorriso; install it with tools/install-packages test")
    tree = work.path / "disc"
    tree.mkdir()
    (tree / "from-host").write_text("made on the host\n")
    big = os.urandom(12 << 20)
    (tree / "big").write_bytes(big)
    iso = work.path / "disc.iso"
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", str(iso), str(tree)], check=True,
                   stderr=subprocess.DEVNULL)
    return iso, hashlib.sha256(big).hexdigest()


def ide(engine, work, checks):
    """A disk and a CD-ROM drive on the PIIX3's channels, by bus-master DMA and by programmed I/O."""
    disk_and_disc(engine, work, checks, ["", "libata.dma=0"], "if=ide", "if=ide")


def ahci(engine, work, checks):
    """The same on an AHCI adapter, with native command queuing."""
    disk_and_disc(engine, work, checks, [""], "if=none,id=d", "if=none,id=c", "-device", "ahci,id=sata",
                  "-device", "ide-hd,drive=d,bus=sata.0", "-device", "ide-cd,drive=c,bus=sata.3")


def scsi(engine, work, checks):
    """The same at a virtio SCSI adapter."""
    disk_and_disc(engine, work, checks, [""], "if=scsi", "if=scsi")


def facts(engine, work, checks):
    """What Linux is told by disks and drives at each controller is what qemu's tell it."""
    if not shutil.which("qemu-system-x86_64"):
        skip("no qemu-system-x86_64 to compare with")
    devices = ["-no-reboot"]
    for i in range(6):
        image = work.disk(f"image{i}", 8 if i % 2 else 64)
        devices += ["-drive", f"if=none,id=d{i},file={image},format=raw" + (",media=cdrom" if i % 2 else "")]
    more = "serial=ABC,wwn=0x5000c50015ea71ac,rotation_rate=1,physical_block_size=4096"
    for line in ["ahci,id=sata", "virtio-scsi-pci,id=scsi", "ide-hd,drive=d0,bus=ide.0,unit=0", "ide-cd,drive=d1,bus=ide.1,unit=0",
                 f"ide-hd,drive=d2,bus=sata.0,{more}", "ide-cd,drive=d3,bus=sata.1", f"scsi-hd,drive=d4,bus=scsi.0,{more}",
                 "scsi-cd,drive=d5,bus=scsi.0"]:
        devices += ["-device", line]
    append = "quiet xuni=test-disk-facts"
    texts = [work.boot(engine, append, *devices)[1]]
    command = ["qemu-system-x86_64", "-cpu", "max", *work.command("tcg", append, *devices)[1:]]
    texts.append(subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace").stdout)
    mine, wanted = [sorted(line for line in text.splitlines() if line.startswith("fact ")) for text in texts]
    checks.holds(len(mine) > 100 and "facts done" in texts[0], f"{len(mine)} facts")
    checks.holds(len(mine) == len(wanted), f"as many as in qemu ({len(wanted)})")
    for pair in zip(mine, wanted):
        if pair[0] != pair[1]:
            checks.holds(False, "\n".join(pair))


def disk_and_disc(engine, work, checks, modes, disk, disc, *devices):
    iso, disc_sum = make_disc(work)
    for mode in modes:
        raw = work.disk("raw.img", 64)
        status, text = work.boot(engine, f"quiet xuni=test-ide {mode}", "-drive", f"file={raw},format=raw,{disk}",
                                 "-drive", f"file={iso},format=raw,media=cdrom,{disc}", *devices, "-no-reboot")
        checks.holds(status == 0, f"exit status 0 ({mode})")
        for line in ["raw read-back ok", "file on the disc ok", f"disc-sum {disc_sum}", "no complaints", "test-ide done"]:
            checks.holds(line in text, line)
        wanted = hashlib.sha256(raw.read_bytes()[:8 << 20]).hexdigest()
        checks.holds(f"host-sum {wanted}" in text, "the host reads what the guest wrote")
        if checks.failed:
            print(text[-4000:])
        raw.unlink()


def floppy(engine, work, checks):
    """Linux's floppy driver on two drives: 1.44 MB, and 720 KB with a FAT file system."""
    if not shutil.which("mkfs.vfat") or not shutil.which("mcopy"):
        skip("no dosfstools or mtools; install them with tools/install-packages test")
    first, second = work.path / "a.img", work.path / "b.img"
    content = os.urandom(1440 << 10)
    first.write_bytes(content)
    second.write_bytes(bytes(720 << 10))
    (work.path / "hello").write_text("hello from the host\n")
    subprocess.run(["mkfs.vfat", str(second)], check=True, capture_output=True)
    subprocess.run(["mcopy", "-i", str(second), str(work.path / "hello"), "::hello.txt"], check=True)
    status, text = work.boot(engine, "quiet xuni=test-floppy", "-drive", f"file={first},format=raw,if=floppy",
                             "-drive", f"file={second},format=raw,if=floppy", "-no-reboot")
    checks.holds(status == 0, "exit status 0")
    for line in ["fd0 is 1.44M", f"disk-sum {hashlib.sha256(content).hexdigest()}", "read-back ok", "hello from the host",
                 "no complaints", "test-floppy done"]:
        checks.holds(line in text, line)
    after = first.read_bytes()
    written = after[51200:51200 + 153600]
    checks.holds(f"host-sum {hashlib.sha256(written).hexdigest()}" in text, "the host reads what the guest wrote")
    checks.holds(after[:51200] == content[:51200] and after[204800:] == content[204800:], "and the rest is as it was")
    answer = subprocess.run(["mtype", "-i", str(second), "::answer"], capture_output=True, text=True).stdout
    checks.holds(answer == "second drive ok\n", "the file that the guest wrote")
    if checks.failed:
        print(text[-4000:])


def net(engine, work, checks):
    web = WebServer(100)
    status, text = work.boot(engine, f"quiet xuni=test-net xuni_http={web.port}", "-nic", "user,model=virtio-net-pci",
                             "-no-reboot", timeout=240)
    checks.holds(status == 0, "exit status 0")
    checks.holds(f"sum {web.sum}" in text, "100 MiB arrive unchanged")
    checks.holds("fetched while down?" not in text, "nothing arrives while the interface is down")
    checks.holds("after up: small" in text, "the network works again after down and up")


def smp(engine, work, checks):
    status, text = work.boot(engine, "quiet xuni=test-smp", "-smp", "4", "-no-reboot", timeout=240)
    checks.holds(status == 0, "exit status 0")
    checks.holds("cpus 4" in text, "four CPUs")
    for i in range(4):
        checks.holds(f"cpu {i} done" in text, f"CPU {i} ran its work")
    checks.holds("cpu1 offline: 3" in text and "cpu1 online: 4" in text, "a CPU goes offline and comes back")
    checks.holds("kernel complains" not in text, "no stall, lockup or unstable clock")


def reboot(engine, work, checks):
    mark = work.disk("mark.img", 1)
    status, text = work.boot(engine, "quiet xuni=test-reboot", "-drive", f"file={mark},format=raw,if=virtio", timeout=240)
    checks.holds(status == 0, "exit status 0")
    checks.holds(0 <= text.find("first boot") < text.find("second boot"), "a reboot starts the kernel again")
    mark.write_bytes(bytes(1 << 20))
    status, text = work.boot(engine, "quiet xuni=test-reboot", "-drive", f"file={mark},format=raw,if=virtio", "-no-reboot")
    checks.holds(status == 0 and "first boot" in text and "second boot" not in text, "-no-reboot ends at the reboot")


def panic(engine, work, checks):
    status, text = work.boot(engine, "xuni=test-panic panic=-1", "-no-reboot")
    checks.holds("Kernel panic - not syncing: sysrq triggered crash" in text, "the guest's panic is on the console")
    checks.holds(status == 0, f"the panic's reboot ends a -no-reboot machine (exit status {status})")


def debian(engine, work, checks):
    image = GUEST / "debian.raw"
    if not image.exists():
        skip("no Debian root file system; make it with guests/make-debian .cache/guest")
    disk = work.path / "debian.raw"
    subprocess.run(["cp", "--sparse=always", str(image), str(disk)], check=True)
    status, text = work.converse(
        engine, "quiet root=/dev/vda xuni=root",
        [("login: ", "root\r"), ("# ", "apt-get --version\r"), ("# ", "systemctl is-system-running; echo state-seen\r"),
         ("# ", "poweroff\r")],
        "-smp", "2", "-drive", f"file={disk},format=raw,if=virtio", "-nic", "user,model=virtio-net-pci",
        "-device", "virtio-rng-pci", "-no-reboot", memory="1G", timeout=400)
    checks.holds("Debian GNU/Linux 12 xuni ttyS0" in text, "systemd reaches the login prompt")
    checks.holds(re.search(r"apt \d+\.\d+.*amd64", text) is not None, "apt-get --version runs")
    checks.holds(status == 0, f"poweroff ends the machine with exit status 0 (was {status})")
    checks.holds("reboot: Power down" in text, "the kernel reaches power-off")
    fsck = subprocess.run(["e2fsck", "-fn", str(disk)], capture_output=True, text=True)
    checks.holds(fsck.returncode == 0, "the root file system is clean afterwards")
    if checks.failed:
        print(text[-4000:], fsck.stdout[-1000:])


def deterministic(engine, work, checks):
    """Under the virtual clock a boot is the same to the nanosecond every time, with randomised addresses and all. Without a
    disk, whose requests are done when the host has done them (docs/support.md, Q1)."""
    runs = [work.boot(engine, "xuni=report", "-icount", "shift=0", "-rtc", "base=2026-01-01,clock=vm", "-no-reboot") for _ in range(2)]
    checks.holds(runs[0][0] == 0 and "report complete" in runs[0][1], "the machine boots under -icount")
    lines = [text.splitlines() for _, text in runs]
    different = [pair for pair in zip(*lines) if pair[0] != pair[1]]
    checks.holds(len(lines[0]) == len(lines[1]) and not different, f"both transcripts agree ({len(lines[0])} lines)")
    for pair in different[:5]:
        print("   ", *pair, sep="\n    ")


def compat_holds(text, checks, classes):
    checks.holds(f"class    {classes[0]}    {classes[1]}" in text, f"program and kernel have ELF classes {classes}")
    for line in ["sums agree", "forks 300", "after the signal", "trapped", "float 750750.000", "test-compat done"]:
        checks.holds(line in text, line)
    checks.holds("kernel complains" not in text, "no process dies by a fault")


def compat(engine, work, checks):
    """32-bit programs on the 64-bit kernel."""
    if not (GUEST / "686/busybox").exists():
        skip("no 32-bit program; make it with guests/make-guest .cache/guest/686 686")
    status, text = work.boot(engine, "quiet xuni=test-compat", "-smp", "2", "-no-reboot", timeout=240)
    checks.holds(status == 0, f"exit status 0 (was {status})")
    compat_holds(text, checks, (1, 2))
    if checks.failed:
        print(text[-4000:])


def linux32(engine, work, checks):
    """A 32-bit kernel: PAE paging and two CPUs, or two-level paging and one. Devices are legacy ones: without firmware
    Linux itself places the others above 4 GiB, and the PAE kernel's ioremap (6.1.176) loses the upper half of that."""
    pae = work.guest.name == "686-pae"
    disk = work.disk("disk.raw", 16)
    status, text = work.boot(engine, "quiet xuni=test-compat", "-smp", "2" if pae else "1", "-no-reboot", timeout=240)
    checks.holds(status == 0, f"exit status 0 (was {status})")
    compat_holds(text, checks, (1, 1))
    status, text = work.boot(engine, "xuni=report", "-smp", "2" if pae else "1", "-no-reboot",
                             "-drive", f"file={disk},format=raw,if=none,id=disk", "-netdev", "user,id=net",
                             "-device", "virtio-blk-pci,drive=disk,disable-modern=on",
                             "-device", "virtio-net-pci,netdev=net,disable-modern=on")
    checks.holds(status == 0 and "report complete" in text, "report complete")
    checks.holds(f"cpus:    {2 if pae else 1} " in text, "the CPUs")
    checks.holds("disk:    vda, 16 MiB" in text and "network: eth0 10.0.2.15/24" in text, "disk and network")
    for complaint in ["Kernel panic", "BUG:", "Oops", "stall", "unstable" if engine != "kvm" else "Oops"]:
        checks.holds(complaint not in text, f"no '{complaint}'")
    if checks.failed:
        print(text[-4000:])


CASES = {f.__name__: f for f in (report, disk, ide, ahci, scsi, facts, floppy, net, smp, reboot, panic, debian, compat, deterministic)}
GUESTS = {"linux686": "686", "linux686pae": "686-pae"}
GUEST_OF = {**GUESTS, "floppy": "686", "ahci": "686", "facts": "686"}
SLOW = ["compat", "debian", "ide", "net", "reboot", "scsi"]
CASES.update({name: linux32 for name in GUESTS})

if __name__ == "__main__":
    engine_name, case = sys.argv[1:3]
    engine_or_skip(engine_name)
    if engine_name == "kvm" and kvm_is_software():
        if case in GUEST_OF:
            skip("this KVM runs in software, which pages in long mode only (kvm-pvm), and the kernel is a 32-bit one")
        if case in SLOW:
            skip("this KVM runs in software, where the interpreter executes the guest (docs/design/kvm.md): the short cases run")
    result = Checks()
    with Workspace(GUEST / GUEST_OF.get(case, "")) as workspace:
        CASES[case](engine_name, workspace, result)
    result.end()
