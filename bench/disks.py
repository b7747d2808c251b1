# SPDX-License-Identifier: GPL-2.0-or-later
"""Direct reads and writes of a disk at each controller, timed inside the guest (bench/guest-disk); bench/run --what disk."""
import math
import re
import subprocess

# What the kernel's command line says, and how the disk is attached.
CONTROLLERS = {
    "virtio": ("", "if=virtio"),
    "scsi": ("", "if=none,id=d", "-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=d"),
    "ide": ("", "if=ide"),
    "ide-pio": ("libata.dma=0", "if=ide"),
    "ahci": ("", "if=none,id=d", "-device", "ahci,id=sata", "-device", "ide-hd,drive=d,bus=sata.0"),
}
MIB, SMALL = 96, 3000
ROWS = {"read-1M": 1e3 / MIB, "read-4k": 1e6 / SMALL, "write-1M": 1e3 / MIB, "write-4k": 1e6 / SMALL}


def table(engines, run, work, controllers, rounds):
    """run(engine, append, options) boots the guest and returns what it printed."""
    disk = work / "disk-io.raw"
    subprocess.run(["dd", "if=/dev/urandom", f"of={disk}", "bs=1M", f"count={MIB}"], stderr=subprocess.DEVNULL, check=True)
    print("disk: dd with O_DIRECT in the guest, the image in the host's page cache: 1 MiB at once, ms each; 4 KiB, us each")
    for name in controllers or CONTROLLERS:
        append, drive, *more = CONTROLLERS[name]
        best = {engine: {} for engine in engines}
        for _ in range(rounds):
            for engine in engines:
                text = run(engine, f"xuni=guest-disk {append}", ["-drive", f"file={disk},format=raw,{drive}", *more])
                for row, start, end in re.findall(r"disk (\S+) ([0-9.]+) ([0-9.]+)", text):
                    figure = (float(end) - float(start)) * ROWS[row]
                    best[engine][row] = min(figure, best[engine].get(row, math.inf))
        for row in ROWS:
            figures = {engine: best[engine].get(row, math.nan) for engine in engines} # nan: not measured
            line = "".join(f"{figure:10.2f} {engine}" for engine, figure in figures.items())
            if "tcg" in engines:
                line += "   of tcg's:" + "".join(f" {f / figures['tcg']:.2f}" for e, f in figures.items() if e != "tcg")
            print(f"  {name + ' ' + row:18}{line}", flush=True)
