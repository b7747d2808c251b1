#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux's own driver on an emulated network card, over the user network: nic_test.py ENGINE MODEL."""
import json
import pathlib
import re
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "boot"))

from machine import GUEST, Checks, WebServer, Workspace, engine_or_skip  # noqa: E402

MAC = "52:54:00:c0:ff:ee"
# model: (guest, Linux driver, cable noticed, options of the device, words for the guest)
MODELS = {
    "e1000": ("amd64", "e1000", True, "", ""),
    "e1000-82544gc": ("amd64", "e1000", True, "", ""),
    "e1000-82545em": ("amd64", "e1000", True, "", ""),
    "rtl8139": ("amd64", "8139cp", True, "", ""),
    # The chip knows nothing of its cable.
    "ne2k_pci": ("amd64", "ne2k-pci", False, "", ""),
    "ne2k_isa": ("686", "ne", False, ",iobase=0x320,irq=5", "xuni_modprobe=ne,io=0x320,irq=5"),
    "pcnet": ("amd64", "pcnet32", True, "", ""),
    "i82550": ("amd64", "e100", True, "", ""),
    "i82557b": ("amd64", "e100", True, "", ""),
    "i82559er": ("amd64", "e100", True, "", ""),
}


class Monitor:
    """QMP on a Unix socket, for one command at a time."""

    def __init__(self, path):
        self.path = path

    def __call__(self, command, **arguments):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.path))
            stream = connection.makefile("rw")
            stream.readline()
            for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                answer = json.loads(stream.readline())
                while "event" in answer:
                    answer = json.loads(stream.readline())
            return answer


def main(engine, model):
    flavour, driver, cable, options, words = MODELS[model]
    mib = 4 if engine == "interp" else 24
    engine_or_skip(engine)
    checks = Checks()
    web = WebServer(mib)
    with Workspace(GUEST / flavour) as work:
        monitor = Monitor(work.path / "qmp")
        steps = []
        if cable:
            steps = [("pull the cable", lambda: monitor("set_link", name="net", up=False)),
                     ("plug it in", lambda: monitor("set_link", name="net", up=True))]
        status, text = work.converse(
            engine, f"quiet xuni=test-nic xuni_http={web.port} xuni_out={mib // 2} {'xuni_link=1' if cable else ''} {words}",
            steps, "-netdev", "user,id=net", "-device", f"{model},netdev=net,mac={MAC}{options}", "-no-reboot",
            "-qmp", f"unix:{monitor.path},server=on,wait=off", timeout=120)
    checks.holds(status == 0, f"exit status 0 (was {status})")
    checks.holds(f"driver {driver} address {MAC}" in text, f"{driver} drives it and reads its address")
    checks.holds("inet 10.0.2.15/24" in text, "DHCP")
    checks.holds(text.count("3 packets transmitted, 3 packets received") == 2, "ping, small and as large as the MTU")
    checks.holds("2 packets transmitted, 2 packets received" in text, "ping in fragments")
    checks.holds(f"in {web.sum}" in text, f"{mib} MiB arrive unchanged")
    sums = re.search(r"out ([0-9a-f]{64})", text), re.search(r"back ([0-9a-f]{64})", text)
    checks.holds(all(sums) and sums[0][1] == sums[1][1], f"{mib // 2} MiB leave unchanged")
    if cable:
        checks.holds(0 < text.find("carrier 0") < text.find("carrier 1"), "the cable out and in again")
        checks.holds("1 packets transmitted, 0 packets received" in text, "nothing answers while it is out")
    checks.holds("1 packets transmitted, 1 packets received" in text, "ping afterwards")
    checks.holds("after up: small" in text, "the network works again after down and up")
    checks.holds("errors 0 0" in text and "kernel complains" not in text, "no error counted, no complaint")
    checks.holds("test-nic done" in text, "to the end")
    if checks.failed:
        print(text[-4000:])
    checks.end()


if __name__ == "__main__":
    main(*sys.argv[1:3])
