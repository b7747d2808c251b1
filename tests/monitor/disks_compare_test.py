#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The disk commands in xuni-vmm and in the distribution's qemu: the same replies to the same session. Two disks: a -drive
with limits and copy-on-read on a chain of three qcow2 images, named by json:{}, and a filter of -blockdev."""
import json
import os
import re
import shutil
import subprocess

import vmm

HUMAN = ["info block", "info block -v d0", "info block d0", "info block nope", "help info block", "help block_resize", "help block_set_io_throttle",
         "block_resize d0 128M", "block_resize d0 72", "info block d0", "block_resize nope 1M", "block_resize d0 1k", "block_set_io_throttle d0 1 2 3 4 5 6",
         "block_set_io_throttle d0 0 0 0 100 0 0", "info block d0", "block_set_io_throttle /machine/peripheral/v0/virtio-backend 0 0 0 0 7 0", "info block d0",
         "block_set_io_throttle nope 0 0 0 0 0 0", "block_set_io_throttle d0 0 0 0 0 0 0", "info block d0"]
BACKEND = "/machine/peripheral/v1/virtio-backend"
NO_LIMITS = {name: 0 for name in ("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr")}
QMP = [("block_set_io_throttle", {"device": "d0", "bps": 0}),
       ("block_set_io_throttle", {"device": "dx", **NO_LIMITS}),
       ("block_set_io_throttle", {"id": "v9", **NO_LIMITS}),
       ("block_set_io_throttle", NO_LIMITS),
       ("block_set_io_throttle", {"device": "d0", **NO_LIMITS, "bps": 7, "bps_max": 5}),
       ("block_set_io_throttle", {"device": "d0", **NO_LIMITS, "bps_max": 5}),
       ("block_set_io_throttle", {"device": "d0", **NO_LIMITS, "bps": 5, "bps_max_length": 5}),
       ("block_set_io_throttle", {"device": "d0", **NO_LIMITS, "bps": 5, "bps_max": 9, "bps_max_length": 0}),
       ("block_set_io_throttle", {"device": "d0", **NO_LIMITS, "iops_size": 512}),
       ("block_set_io_throttle", {"device": "d0", **NO_LIMITS, "bps": 10 ** 16}),
       ("block_set_io_throttle", {"id": BACKEND, **NO_LIMITS, "iops_wr": 50, "iops_wr_max": 60, "iops_wr_max_length": 3, "iops_size": 4096, "group": "shared"}),
       ("query-block", {}),
       ("block_set_io_throttle", {"id": BACKEND, **NO_LIMITS}),
       ("block_resize", {"device": "d0", "size": 1000}), ("block_resize", {"node-name": "zz", "size": 1000}),
       ("block_resize", {"device": "zz", "size": 1000}), ("block_resize", {"size": 1000}), ("block_resize", {"device": "d0", "size": -5}),
       ("block_resize", {"device": "d0", "size": 1 << 27}), ("query-block", {}), ("query-named-block-nodes", {}),
       ("query-named-block-nodes", {"flat": True})]


def without_place(text):
    """Node names are made up by each; qemu spells a filter's name as JSON where we give the file's."""
    text = re.sub(r"disk size: .*?\r", "disk size: some\r", text)
    return re.sub(r"#block\d+", "#block", re.sub(r"json:\{.*?\}\}?", "NAME", text).replace("n1.raw", "NAME"))


def plain(value):
    if isinstance(value, dict):
        # How large a file is on this file system, and where nodes' names come from, differs.
        return {key: plain(inner) for key, inner in value.items() if key not in ("actual-size", "timestamp")}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return without_place(value) if isinstance(value, str) else value


def by_node(nodes):
    """The order of the list is nobody's business, nor how long files have grown."""
    for node in nodes["return"]:
        if node["drv"] == "file":
            node["image"]["virtual-size"] = 0
    return sorted((json.dumps(plain(node), sort_keys=True) for node in nodes["return"]))


def session(folder, program):
    folder.images()
    name = "json:" + json.dumps({"driver": "qcow2", "file": {"driver": "file", "filename": "top.qcow2"}})
    command = folder.command("-S", "-display", "none", "-qmp", "stdio", "-serial", "null", "-drive",
                             "if=none,id=d0,throttling.bps-total=1000000,bps_max=2000000,copy-on-read=on,detect-zeroes=unmap,stats-account-failed=on,stats-intervals.0=60,l2-cache-size=1M,file=" + name.replace(",", ",,"),
                             "-device", "virtio-blk-pci,drive=d0,id=v0", "-object", "throttle-group,id=g,x-iops-total=100",
                             "-blockdev", "file,node-name=n1,filename=n1.raw", "-blockdev", "throttle,node-name=t1,file=n1,throttle-group=g",
                             "-device", "virtio-blk-pci,drive=t1,id=v1,write-cache=off", "-device", "virtio-balloon-pci,id=v9", program=program)
    replies = []
    os.chdir(folder.path)
    with vmm.QmpMachine(command) as machine:
        machine.qmp.call("qmp_capabilities")
        for line in HUMAN:
            replies.append((line, without_place(machine.qmp.human(line))))
        for name, arguments in QMP:
            reply = machine.qmp.raw(json.dumps({"execute": name, "arguments": arguments}) + "\n")
            replies.append((f"{name} {arguments}", by_node(reply) if name == "query-named-block-nodes" else plain(reply)))
        machine.quit()
    return replies


class Images(vmm.Folder):
    def images(self):
        def make(name, *backing):
            subprocess.run([self.qemu_img, "create", "-q", "-f", "qcow2", *backing, name, *([] if backing else ["64M"])], cwd=self.path, check=True)

        make("base.qcow2")
        make("mid.qcow2", "-b", "base.qcow2", "-F", "qcow2")
        make("top.qcow2", "-b", "mid.qcow2", "-F", "qcow2")
        (self.path / "n1.raw").write_bytes(bytes(1 << 20))


def main():
    qemu, Images.qemu_img = os.environ.get("XUNI_QEMU") or shutil.which("qemu-system-x86_64"), shutil.which("qemu-img")
    if not qemu or not Images.qemu_img:
        vmm.skip("qemu-system-x86_64 and qemu-img are not installed")
    checks = vmm.Checks()
    with Images() as folder:
        ours, theirs = session(folder, vmm.VMM), session(folder, qemu)
    for (line, mine), (_, its) in zip(ours, theirs):
        checks.same(mine, its, line)
    checks.end()


if __name__ == "__main__":
    main()
