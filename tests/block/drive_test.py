#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""-drive and -blockdev as a guest and a monitor see them: drive_test.py GROUP ENGINE."""
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "boot"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "monitor"))
import vmm  # noqa: E402
from machine import PATIENCE, Checks, Workspace, engine_or_skip, skip  # noqa: E402

XUNI_IMG = os.environ.get("XUNI_IMG", "build/xuni-img")


def qemu_img(*arguments):
    return subprocess.run(["qemu-img", *map(str, arguments)], capture_output=True, text=True)


class Guest:
    """A machine whose guest runs shell lines, with QMP beside it."""

    serial = 0

    def __init__(self, work, engine, *extra):
        Guest.serial += 1
        socket = work.path / f"qmp{Guest.serial}"
        self.process = subprocess.Popen(work.command(engine, "quiet xuni=serve", "-qmp", f"unix:{socket},server=on,wait=off", "-no-reboot", *extra),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.timer = threading.Timer(180 * PATIENCE, self.process.kill)
        self.timer.start()
        self.text = ""
        self.until("serve: ready")
        self.socket = vmm.connect(socket)
        self.qmp = vmm.Qmp(self.socket.fileno(), self.socket.fileno())
        self.qmp.call("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()
        self.timer.cancel()
        self.socket.close()

    def until(self, wanted):
        """Text up to the pattern's match, and the match."""
        while True:
            match = re.search(wanted, self.text)
            if match:
                before, self.text = self.text[:match.start()], self.text[match.end():]
                return before, match
            chunk = self.process.stdout.read1(4096)
            if not chunk:
                raise AssertionError(f"{wanted!r} did not come before the machine ended; there is {self.text[-2000:]!r}")
            self.text += chunk.decode(errors="replace").replace("\r", "")

    def start(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def end(self):
        before, match = self.until(r"serve: ended (\d+)\n")
        return int(match[1]), before.strip()

    def sh(self, line):
        self.start(line)
        return self.end()

    def quit(self):
        """As after a clean shutdown: the images are closed."""
        self.qmp.call("quit")
        self.process.wait(60 * PATIENCE)


def share(engine, work, checks):
    """Two machines at once, each on a chain of three qcow2 images of its own making, over one base."""
    base = work.path / "base.qcow2"
    pattern = work.path / "pattern.raw"
    pattern.write_bytes(b"".join(hashlib.sha256(str(i).encode()).digest() * 128 for i in range(2048)))
    qemu_img("convert", "-f", "raw", "-O", "qcow2", pattern, base)
    before = base.read_bytes()
    tops = []
    for name in ("a", "b"):
        middle, top = work.path / f"{name}-middle.qcow2", work.path / f"{name}-top.qcow2"
        qemu_img("create", "-f", "qcow2", "-b", base, "-F", "qcow2", middle)
        qemu_img("create", "-f", "qcow2", "-b", middle, "-F", "qcow2", top)
        tops.append(top)
    drives = [["-drive", f"file={tops[0]},if=virtio"],
              ["-drive", "if=virtio,file=json:" + json.dumps({"driver": "qcow2", "file": {"driver": "file", "filename": str(tops[1])}}).replace(",", ",,")]]
    with Guest(work, engine, *drives[0]) as one, Guest(work, engine, *drives[1]) as two:
        for guest, name in ((one, "first"), (two, "second")):
            checks.holds(guest.sh("dd if=/dev/vda bs=64k 2>/dev/null | sha256sum")[1].split()[0] == hashlib.sha256(pattern.read_bytes()).hexdigest(),
                         f"the {name} guest reads the base through its chain")
            checks.holds(guest.sh(f"yes {name} | dd of=/dev/vda bs=64k seek=9 count=20 iflag=fullblock conv=fsync 2>/dev/null")[0] == 0,
                         f"the {name} guest writes")
        text = "yes {} | dd bs=64k count=20 iflag=fullblock 2>/dev/null | sha256sum"
        for guest, name in ((one, "first"), (two, "second")):
            wanted = subprocess.run(["sh", "-c", text.format(name)], capture_output=True, text=True).stdout.split()[0]
            got = guest.sh("dd if=/dev/vda bs=64k skip=9 count=20 iflag=direct 2>/dev/null | sha256sum")[1].split()[0]
            checks.holds(got == wanted, f"the {name} guest reads back its own")
        # The base is in use for reading: nobody may write to it, everybody may read.
        checks.holds('Failed to get "write" lock' in qemu_img("snapshot", "-c", "x", base).stderr, "qemu-img may not write to the shared base")
        ours = subprocess.run([XUNI_IMG, "snapshot", "-c", "x", str(base)], capture_output=True, text=True)
        checks.holds(ours.returncode == 1 and "lock" in ours.stderr, "xuni-img may not write to the shared base")
        checks.holds(qemu_img("info", base).returncode == 0, "qemu-img may read the shared base")
        writer = subprocess.run(work.command(engine, "quiet xuni=serve", "-drive", f"file={base},if=virtio"), capture_output=True, text=True)
        checks.holds(writer.returncode == 1 and "lock" in writer.stderr, "a third machine may not write to the shared base")
        info = one.qmp.human("info block")
        checks.holds("(chain depth: 2)" in info, "info block says how deep the chain is")
        one.quit()
        two.quit()
    checks.holds(base.read_bytes() == before, "the base is as it was")
    for top in tops:
        checks.holds(qemu_img("check", top).returncode == 0, f"qemu-img check finds {top.name} clean")


def throttle(engine, work, checks):
    disk = work.disk("disk.raw", 64)
    command = "dd if=/dev/vda of=/dev/null bs=64k count={} iflag=direct 2>/dev/null"
    with Guest(work, engine, "-drive", f"file={disk},format=raw,if=none,id=d,throttling.bps-total=2097152,throttling.group=shared",
               "-device", "virtio-blk-pci,drive=d,id=v") as guest:
        start = time.monotonic()
        checks.holds(guest.sh(command.format(64))[0] == 0, "a throttled disk reads")
        seconds = time.monotonic() - start
        # 4 MiB at 2 MiB a second, of which a tenth of a second is free.
        checks.holds(seconds > 1.7, f"4 MiB at 2 MiB/s take {seconds:.2f} s")
        def limit(**values):
            rates = {"bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0, **values}
            reply = guest.qmp.raw(json.dumps({"execute": "block_set_io_throttle", "arguments": {"device": "d", **rates}}) + "\n")
            checks.holds("return" in reply, f"limits {values}")

        guest.start(command.format(1024))
        start = time.monotonic()
        limit()
        guest.end()
        seconds = time.monotonic() - start
        checks.holds(seconds < 15 * PATIENCE, f"without limits 64 MiB take {seconds:.2f} s")
        # Who ends the machine does not wait for what the limits hold back: 100 s here.
        limit(bps=10000)
        guest.start("dd if=/dev/vda of=/dev/null bs=1M count=1 iflag=direct 2>/dev/null; dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct")
        start = time.monotonic()
        guest.quit()
        checks.holds(time.monotonic() - start < 30 * PATIENCE, "the machine ends although requests wait")


def errors(engine, work, checks):
    """Faults by rule under a raw disk; what the guest, the monitor and the events say."""
    def blockdev(error, **rule):
        disk = work.disk("disk.raw", 16)
        rule = {"event": "write_aio", "errno": error, "sector": 128, **rule}
        return ["-blockdev", json.dumps({"driver": "file", "node-name": "f", "filename": str(disk)}), "-blockdev",
                json.dumps({"driver": "raw", "node-name": "d", "file": {"driver": "blkdebug", "image": "f", "inject-error": [rule]}})]

    write = "dd if=/dev/urandom of=/dev/vda bs=4k seek=16 count=1 oflag=direct 2>/dev/null"
    with Guest(work, engine, *blockdev(28, once=True), "-device", "virtio-blk-pci,drive=d,id=v") as guest:
        guest.start(write)
        event = guest.qmp.event("BLOCK_IO_ERROR")["data"]
        checks.holds(event == {"device": "", "node-name": "d", "operation": "write", "action": "stop", "nospace": True,
                               "reason": "No space left on device"}, f"a full disk stops the machine: {event}")
        guest.qmp.event("STOP")
        checks.holds(guest.qmp.call("query-status")["return"]["status"] == "io-error", "its status is io-error")
        checks.holds(guest.qmp.call("query-block")["return"][0]["io-status"] == "nospace", "query-block says nospace")
        checks.holds("I/O status:       nospace" in guest.qmp.human("info block"), "info block says nospace")
        guest.qmp.call("cont")
        checks.holds(guest.end()[0] == 0, "the write succeeds when the machine goes on")
        checks.holds(guest.qmp.call("query-block")["return"][0]["io-status"] == "ok", "query-block says ok again")
        checks.holds(guest.sh("dd if=/dev/vda bs=4k skip=16 count=1 iflag=direct 2>/dev/null | tr -d '\\0' | wc -c")[1] != "0", "the data are there")
    with Guest(work, engine, *blockdev(5), "-device", "virtio-blk-pci,drive=d,id=v,werror=stop") as guest:
        guest.start(write)
        for _ in range(2):
            event = guest.qmp.event("BLOCK_IO_ERROR")["data"]
            checks.holds((event["action"], event["nospace"], event["reason"]) == ("stop", False, "Input/output error"), "werror=stop stops")
            guest.qmp.event("STOP")
            checks.holds(guest.qmp.call("query-block")["return"][0]["io-status"] == "failed", "query-block says failed")
            guest.qmp.call("cont")
    for policy, status in (("report", False), ("ignore", True)):
        with Guest(work, engine, *blockdev(5), "-device", f"virtio-blk-pci,drive=d,id=v,werror={policy}") as guest:
            checks.holds((guest.sh(write)[0] == 0) == status, f"werror={policy}")
            checks.holds(guest.qmp.event("BLOCK_IO_ERROR")["data"]["action"] == policy, f"the event says {policy}")
    with Guest(work, engine, *blockdev(5, event="read_aio", once=True), "-device", "virtio-blk-pci,drive=d,id=v,rerror=stop") as guest:
        guest.start("dd if=/dev/vda of=/dev/null bs=4k skip=16 count=1 iflag=direct 2>/dev/null")
        checks.holds(guest.qmp.event("BLOCK_IO_ERROR")["data"]["operation"] == "read", "rerror=stop stops")
        guest.qmp.event("STOP")
        guest.qmp.call("cont")
        checks.holds(guest.end()[0] == 0, "the read succeeds when the machine goes on")


def options(engine, work, checks):
    base, top = work.path / "base.raw", work.path / "top.qcow2"
    base.write_bytes(os.urandom(1 << 20) * 16)
    qemu_img("create", "-f", "qcow2", "-b", base, "-F", "raw", top)
    with Guest(work, engine, "-drive", f"file={top},if=none,id=d,copy-on-read=on,detect-zeroes=on", "-device", "virtio-blk-pci,drive=d,serial=S123") as guest:
        guest.sh("dd if=/dev/vda of=/dev/null bs=1M count=4 iflag=direct 2>/dev/null")
        guest.sh("dd if=/dev/zero of=/dev/vda bs=1M seek=8 count=2 oflag=direct 2>/dev/null")
        checks.holds(guest.sh("cat /sys/block/vda/serial")[1] == "S123", "serial=")
        before = guest.sh("blockdev --getsize64 /dev/vda")[1]
        guest.qmp.raw(json.dumps({"execute": "block_resize", "arguments": {"device": "d", "size": 32 << 20}}) + "\n")
        guest.sh("while [ $(cat /sys/block/vda/size) = 32768 ]; do usleep 10000; done")
        checks.holds((before, guest.sh("blockdev --getsize64 /dev/vda")[1]) == (str(16 << 20), str(32 << 20)), "block_resize reaches the guest")
        guest.quit()
    rows = json.loads(qemu_img("map", "--output=json", top).stdout)

    def row_at(offset):
        return next(row for row in rows if row["start"] <= offset < row["start"] + row["length"])

    checks.holds(all(row_at(mib << 20)["depth"] == 0 and row_at(mib << 20)["data"] for mib in range(4)), "copy-on-read keeps what was read")
    checks.holds(row_at(5 << 20)["depth"] == 1, "and nothing else")
    checks.holds(row_at(8 << 20)["zero"] and not row_at(8 << 20)["data"], "detect-zeroes writes no zeroes")
    checks.holds(qemu_img("check", top).returncode == 0, "qemu-img check finds it clean")
    before = top.read_bytes()
    with Guest(work, engine, "-snapshot", "-drive", f"file={top},if=virtio", "-drive", f"file={base},format=raw,if=virtio,readonly=on") as guest:
        checks.holds(guest.sh("dd if=/dev/urandom of=/dev/vda bs=1M count=2 oflag=direct 2>/dev/null")[0] == 0, "-snapshot: the guest writes")
        checks.holds(guest.sh("cat /sys/block/vdb/ro")[1] == "1", "readonly=on: the guest sees that")
        guest.quit()
    checks.holds(top.read_bytes() == before, "-snapshot leaves the image as it was")


def queues(engine, work, checks):
    """Two queues of the guest, each with a host thread and a submission queue of its own."""
    disk = work.path / "disk.qcow2"
    qemu_img("create", "-f", "qcow2", disk, "64M")
    device = {"driver": "virtio-blk-pci", "drive": "d", "num-queues": 2, "iothread-vq-mapping": [{"iothread": "t0"}, {"iothread": "t1"}]}
    with Guest(work, engine, "-smp", "2", "-object", "iothread,id=t0", "-object", "iothread,id=t1", "-drive", f"file={disk},if=none,id=d",
               "-device", json.dumps(device)) as guest:
        checks.holds(guest.sh("ls /sys/block/vda/mq | wc -l")[1] == "2", "the guest has two queues")
        both = "; ".join(f"(taskset {1 << cpu} dd if=/dev/urandom of=/dev/vda bs=64k seek={cpu * 512} count=256 oflag=direct conv=fsync 2>/dev/null) &"
                         for cpu in range(2)).replace("&;", "&")
        checks.holds(guest.sh(f"{both} wait")[0] == 0, "both write at once")
        sums = guest.sh("dd if=/dev/vda bs=1M 2>/dev/null | sha256sum")[1].split()[0]
        guest.start(f"{both.replace('/dev/urandom', '/dev/vda').replace('of=/dev/vda', 'of=/dev/null').replace('oflag=direct conv=fsync', 'iflag=direct')} wait")
        reply = guest.qmp.raw(json.dumps({"execute": "block_resize", "arguments": {"device": "d", "size": 128 << 20}}) + "\n")
        checks.holds("return" in reply, "block_resize while both read")
        checks.holds(guest.end()[0] == 0, "both read on")
        guest.quit()
    flat = work.path / "flat.raw"
    qemu_img("convert", "-O", "raw", disk, flat)
    checks.holds(hashlib.sha256(flat.read_bytes()[:64 << 20]).hexdigest() == sums, "qemu-img reads what the guest wrote")
    checks.holds(flat.stat().st_size == 128 << 20, "the image has its new size")


def main():
    groups = {"queues": queues, "share": share, "throttle": throttle, "errors": errors, "options": options}
    if not shutil.which("qemu-img"):
        skip("qemu-img is not here (package qemu-utils)")
    engine_or_skip(sys.argv[2])
    checks = Checks()
    with Workspace() as work:
        groups[sys.argv[1]](sys.argv[2], work, checks)
    checks.end()


if __name__ == "__main__":
    main()
