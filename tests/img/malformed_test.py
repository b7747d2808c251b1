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
import zlib
import zlib

from images import BAT, FILE, ITEMS, METADATA, MIB, Image, Vhdx, made

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OURS = os.environ.get("XUNI_IMG", str(ROOT / "build/xuni-img"))
PATIENCE = float(os.environ.get("XUNI_PATIENCE", "1"))
MEMORY = 1 << 30  # of address space; the sanitizers take more
SECONDS = 10


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


# --- vmdk: header, descriptor, directories and tables in sectors of their own; grains of 4 KiB from sector 8 on ---

DESCRIPTOR = """# Disk DescriptorFile
version=1
CID=12345678
parentCID=ffffffff
createType="%s"

# Extent description
%s
# The Disk Data Base
#DDB

ddb.adapterType = "ide"
"""


def vmdk(*entries, version=1, flags=3, capacity=512, grain=8, gtes=64, rgd=3, gd=2, over=8, packed=None, text=None, magic=b"KDMV", length=16384):
    """One table at sector 4, its copy at 5. packed: bytes from sector 8 on, which make the extent a compressed one."""
    image = Image(bytes(length)).put(0, magic).le(4, "IIQQQQIQQQ", version, flags, capacity, grain, 1, 1, gtes, rgd, gd, over)
    image.put(73, b"\n \r\n").le(77, "H", packed is not None)
    image.put(512, (text or DESCRIPTOR % ("monolithicSparse", 'RW 512 SPARSE "x.vmdk"\n')).encode()[:512])
    image.le(1024, "I", 4).le(1536, "I", 5)
    for i, entry in enumerate(entries):
        image.le(2048 + i * 4, "I", entry).le(2560 + i * 4, "I", entry)
    return image.put(4096, packed) if packed else image


def grain_packed(content, size=None):
    data = zlib.compress(content)
    return struct.pack("<QI", 0, len(data) if size is None else size) + data


STREAM = {"version": 3, "flags": 3 | 1 << 16 | 1 << 17}


def described(lines, kind="twoGbMaxExtentFlat", text=DESCRIPTOR):
    return Image((text % (kind, lines)).encode())


def vmdk_images():
    yield "plain", vmdk(8, 16), None
    yield "zero-grain", vmdk(8, 1, version=2, flags=7), None
    yield "no-redundant", vmdk(8, flags=1), None
    yield "bad-version", vmdk(version=9), None
    yield "bad-table-size", vmdk(gtes=100000), None
    yield "bad-table-size-0", vmdk(gtes=0), None
    yield "bad-grain-0", vmdk(grain=0), None
    yield "bad-grain-huge", vmdk(grain=1 << 30), "Invalid granularity"
    yield "bad-grain-odd", vmdk(grain=12), "Invalid granularity"
    yield "bad-capacity-max", vmdk(capacity=(1 << 64) - 1), "Invalid capacity"
    yield "directory-huge", vmdk(capacity=1 << 40, grain=1, gtes=1), "L1 size too big"
    yield "directory-beyond-end", vmdk(gd=1 << 20), "lies beyond the end of the file"
    yield "directory-overflow", vmdk(gd=(1 << 63) + 5), "lies beyond the end of the file"
    yield "redundant-beyond-end", vmdk(rgd=1 << 20), "lies beyond the end of the file"
    yield "grains-cut", vmdk(over=1 << 20), None
    yield "grains-huge", vmdk(over=1 << 60), "own"
    yield "table-beyond-end", vmdk().le(1024, "I", 5000000), None
    yield "table-is-descriptor", vmdk().le(1024, "I", 1), "own"
    yield "table-is-directory", vmdk().le(1024, "I", 2), "own"
    yield "redundant-table-is-header", vmdk(8).le(1536, "I", 0), None
    yield "redundant-table-is-directory", vmdk(8).le(1536, "I", 2), None
    yield "grain-is-header", vmdk(1), None
    yield "grain-is-table", vmdk(4, 5), None
    yield "grain-beyond-end", vmdk(0x7fffff8), None
    yield "grain-at-2-tib", vmdk(0xfffffff8), None
    yield "grains-the-same", vmdk(8, 8, 8), None
    yield "header-cut", vmdk().cut(600), None
    yield "tiny", Image(b"KDM"), "invalid VMDK image descriptor"
    yield "no-cid", vmdk(text=DESCRIPTOR.replace("CID=12345678\n", "") % ("monolithicSparse", "")), "has no CID"
    yield "cid-not-hex", vmdk(text=DESCRIPTOR.replace("12345678", "xyz") % ("monolithicSparse", "")), "Invalid CID"
    yield "packed", vmdk(8, packed=grain_packed(b"a" * 4096), **STREAM), "own"  # qemu's map shows whole grains behind the end too
    yield "packed-bomb", vmdk(8, packed=grain_packed(bytes(40 << 20)), **STREAM), "EIO"
    yield "packed-size-0", vmdk(8, packed=grain_packed(b"a" * 4096, 0), **STREAM), "EIO"
    yield "packed-size-huge", vmdk(8, packed=grain_packed(b"a" * 4096, 0xffffffff), **STREAM), "EIO"
    yield "packed-junk", vmdk(8, packed=struct.pack("<QI", 0, 100) + b"junk" * 50, **STREAM), "EIO"
    yield "packed-grain-huge", vmdk(8, packed=grain_packed(b"a"), capacity=1 << 30, grain=1 << 20, **STREAM), "Invalid granularity"
    yield "no-footer", vmdk(packed=b"x", gd=(1 << 64) - 1, **STREAM), None
    yield "esx", Image(bytes(32768)).put(0, b"COWD").le(4, "IIIIII", 1, 3, 4096, 8, 4, 1).put(512, vmdk().content[512:1024]).le(2048, "I", 5).le(2560, "I", 48), None
    yield "nothing-but-type", described(""), "own"
    yield "type-unknown", described('RW 8 FLAT "a" 0\n', "fullDevice"), None
    yield "no-type", Image(b"# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"), None
    yield "line-without-offset", described('RW 8 FLAT "a"\n'), None
    yield "line-negative", described('RW 8 FLAT "a" -1\n'), None
    yield "line-cut", Image(described("").content + b'RW 8 FLAT "a'), "Invalid extent line"
    yield "line-size-huge", described('RW 99999999999999999999 FLAT "a" 0\n'), "Invalid extent line"
    yield "line-of-zeroes", described("RW 8 ZERO\n"), "Invalid extent line"
    yield "line-read-only", described('RDONLY 8 FLAT "a" 0\n'), "not RW"
    yield "extent-not-there", described('RW 8 FLAT "nono" 0\n'), "No such file or directory"
    yield "extent-is-protocol", described('RW 8 FLAT "nbd:localhost:1" 0\n'), "No such file or directory"
    yield "extent-is-device", described('RW 8 FLAT "/dev/zero" 0\n'), "needs a regular file"
    yield "extent-is-folder", described('RW 8 FLAT "/tmp" 0\n'), "Is a directory"
    yield "extent-is-itself", described('RW 8 FLAT "extent-is-itself.vmdk" 0\n'), "own"
    yield "extent-sparse-is-itself", described('RW 8 SPARSE "extent-sparse-is-itself.vmdk"\n'), "Image not in VMDK format"
    yield "extents-many", described('RW 8 FLAT "extents-many.vmdk" 0\n' * 5000), "own"
    yield "extents-more", described('RW 8 FLAT "extents-more.vmdk" 0\n' * 9000), "more than 8192 extents"
    yield "extent-sparse-twice", described('RW 8 SPARSE "extent-sparse-twice.vmdk"\n' * 2, text=DESCRIPTOR.replace("# Disk", "# KDMV")), "Image not in VMDK format"
    yield "extents-huge", described('RW 9007199254740991 FLAT "extents-huge.vmdk" 0\n' * 5), "own"
    yield "extent-offset-huge", described('RW 9007199254740991 FLAT "extent-offset-huge.vmdk" 9007199254740991\n'), "own"
    yield "parent-is-itself", vmdk(8, text=vmdk_with_parent("parent-is-itself.vmdk")), "own"  # map and convert find the loop
    yield "parent-not-there", vmdk(8, text=vmdk_with_parent("nono.vmdk")), "own"  # info and check do without
    yield "parent-is-raw", vmdk(8, text=vmdk_with_parent("/dev/null")), "own"
    yield "descriptor-in-header", vmdk(capacity=0), None
    yield "empty", Image(b""), None


def vmdk_with_parent(name):
    return (DESCRIPTOR % ("monolithicSparse", "")).replace("ffffffff", "11111111").replace("\n\n", f'\nparentFileNameHint="{name}"\n\n', 1)

# --- vhdx: patched places of a good image of qemu-img's, with the checksums put right ---

def vhdx_patches():
    """Where qemu-img says why, its words are ours; it often says only that the image is not valid."""
    yield "plain", Vhdx(), "own"  # its map knows no holes
    yield "signature", Vhdx().put(0, b"vhdxfilX"), "not in VHDX format"
    yield "header-version", Vhdx().head(66, "H", 2), "No valid VHDX header found"
    yield "headers-same-number", Vhdx().head(8, "Q", 7).le(65536 + 16, "I", 1), "No valid VHDX header found"
    yield "log-version", Vhdx().head(64, "H", 1), "version 1 of the log"
    yield "log-beyond-end", Vhdx().head(72, "Q", 1 << 40), "the log of"
    yield "log-unaligned", Vhdx().head(72, "Q", MIB + 4096), "the log of"
    yield "log-huge", Vhdx().head(68, "I", 0xfff00000), "the log of"
    yield "log-over-table", Vhdx().head(72, "Q", BAT), "lie over one another"
    yield "regions-many", Vhdx().regions(8, "I", 5000), "No valid VHDX region table found"
    yield "regions-none", Vhdx().regions(8, "I", 0), "no block allocation table"
    yield "region-unknown", Vhdx().regions(16, "Q", 5).regions(44, "I", 1), "must be understood"
    yield "region-beyond-end", Vhdx().regions(32, "Q", 1 << 50), "lies beyond the end"
    yield "region-overflow", Vhdx().regions(32, "Q", (1 << 64) - MIB), "lies beyond the end"
    yield "region-empty", Vhdx().regions(40, "I", 0), "a region of"
    yield "region-huge", Vhdx().regions(40, "I", 0xfff00000), "lies beyond the end"
    yield "regions-overlap", Vhdx().regions(32, "Q", METADATA), "lie over one another"
    yield "region-is-header", Vhdx().regions(32, "Q", 0), "a region of"
    yield "metadata-signature", Vhdx().put(METADATA, b"XX"), "metadata table"
    yield "metadata-many", Vhdx().le(METADATA + 10, "H", 60000), "metadata table"
    yield "metadata-none", Vhdx().le(METADATA + 10, "H", 0), "are missing"
    yield "metadata-unknown", Vhdx().le(METADATA + 32, "Q", 5), "must be understood"
    yield "metadata-in-table", Vhdx().le(METADATA + 48, "I", 5), "not valid"
    yield "metadata-beyond-end", Vhdx().le(METADATA + 48, "I", 0xfffffff0), "not valid"
    yield "block-size-0", Vhdx().le(ITEMS, "I", 0), "the block size of"
    yield "block-size-3m", Vhdx().le(ITEMS, "I", 3 * MIB), "the block size of"
    yield "block-size-huge", Vhdx().le(ITEMS, "I", 1 << 31), "the block size of"
    yield "parent", Vhdx().le(ITEMS + 4, "I", 2), "differencing disk"
    yield "disk-huge", Vhdx().le(ITEMS + 8, "Q", (1 << 64) - 512), "the size of the disk"
    yield "disk-of-64-tib", Vhdx().le(ITEMS + 8, "Q", 64 << 40), "too small for its disk"
    yield "disk-of-128-gib", Vhdx().le(ITEMS + 8, "Q", 127 << 30), "own"
    yield "disk-odd", Vhdx().le(ITEMS + 8, "Q", 1000), "the size of the disk"
    yield "disk-empty", Vhdx().le(ITEMS + 8, "Q", 0), "own"
    yield "sector-4096", Vhdx().le(ITEMS + 32, "I", 4096), "own"
    yield "sector-1", Vhdx().le(ITEMS + 32, "I", 1), "the sector size of"
    yield "entry-beyond-end", Vhdx().le(BAT, "Q", (1 << 40) | 6), "own"
    yield "entry-overflow", Vhdx().le(BAT, "Q", ((1 << 64) - MIB) | 6), "own"
    yield "entry-is-header", Vhdx().le(BAT, "Q", 6), "own"
    yield "entry-is-table", Vhdx().le(BAT, "Q", BAT | 6), "own"
    yield "entry-partial", Vhdx().le(BAT, "Q", FILE | 7), "own"
    yield "entries-the-same", Vhdx().le(BAT, "QQQ", FILE | 6, FILE | 6, FILE | 6), "own"
    yield "file-cut", Vhdx().cut(FILE + 5000), "own"
    yield "header-cut", Vhdx().cut(100000), "own"
    yield "empty", Image(b""), "not in VHDX format"
    # Logs: none of these may be replayed in part; read-only they are refused, or no logs.
    for name, image in (("zero", Vhdx().log(("zero", BAT, 4096))), ("data", Vhdx().log(("data", BAT + 8192, 0))),
                        ("zero-huge", Vhdx().log(("zero", BAT, -4096))), ("zero-beyond", Vhdx().log(("zero", 1 << 62, 4096))),
                        ("data-beyond", Vhdx().log(("data", 1 << 62, 1))), ("data-unaligned", Vhdx().log(("data", BAT + 7, 1))),
                        ("over-headers", Vhdx().log(("data", 65536, 1), ("data", 131072, 1))),
                        ("count-huge", Vhdx().log(count=0xffffffff)), ("length-huge", Vhdx().log(length=0xfffff000)),
                        ("tail-outside", Vhdx().log(("zero", BAT, 4096), tail=65536)), ("cut", Vhdx().log(("zero", BAT, 4096), flushed=1 << 40)),
                        ("grows", Vhdx().log(("zero", BAT, 4096), last=20 * MIB)), ("grows-huge", Vhdx().log(("zero", BAT, 4096), last=1 << 62)),
                        ("sequence-0", Vhdx().log(("zero", BAT, 4096), sequence=0))):
        yield f"log-{name}", image, "own"


def vhdx_images():
    for name, image, differs in vhdx_patches():
        yield name, image.right() if isinstance(image, Vhdx) and len(image.content) > 1 << 20 else image, differs


# --- vpc: footer (copy at the beginning), header at 512, table at 1536, blocks of a sector of bitmap and 2 MiB ---

def checksum(data, at):
    return ~sum(byte for i, byte in enumerate(data) if not at <= i < at + 4) & 0xffffffff


def vpc_footer(disk, kind, creator=b"qem2", geometry=(65535, 16, 255), data_offset=512):
    footer = Image(bytes(512)).put(0, b"conectix").be(8, "IIQI", 2, 0x10000, data_offset, 0).put(28, creator)
    footer.be(32, "I", 0x50003).put(36, b"Wi2k").be(40, "QQHBB", disk, disk, *geometry).be(60, "I", kind)
    return footer.be(64, "I", checksum(footer.content, 64)).content


def vpc(*entries, disk=None, bits=21, count=None, table=1536, kind=3, end=None, **footer):
    """A dynamic image whose blocks are a hole. end: where the footer stands, else behind the last block."""
    count = len(entries) if count is None else count
    copy = vpc_footer(len(entries) << bits if disk is None else disk, kind, **footer)
    image = Image(copy).put(512, b"cxsparse").be(520, "QQIII", 0xffffffffffffffff, table, 0x10000, count, 1 << bits)
    image.put(1535, b"\0").be(548, "I", checksum(image.content[512:1536], 36))
    for i, entry in enumerate(entries):
        image.be(table + i * 4, "I", entry)
    size = max((1 << bits) // 4096, 512) + (1 << bits)
    last = max([table + count * 4 + 511 & ~511] + [entry * 512 + size for entry in entries if entry != NONE])
    return image.put(last if end is None else end, copy)


def vpc_images():
    small = {"bits": 12}  # blocks of 4 KiB keep the files small: 5 sectors of 512 bytes with the bitmap, up to 9
    yield "plain", vpc(4, NONE, 13, **small), None
    yield "nothing", vpc(NONE, NONE, **small), None
    yield "no-table", vpc(disk=0), None
    yield "fixed", Image(bytes(4096)).put(4096, vpc_footer(4096, 2)), None
    yield "fixed-of-virtual-pc", Image(bytes(69632)).put(69632, vpc_footer(69632, 2, b"vpc ", (2, 4, 17))), None
    yield "fixed-empty", Image(vpc_footer(0, 2)).put(0, b"not here"), None
    yield "fixed-too-short", Image(bytes(4096)).put(4096, vpc_footer(1 << 30, 2)), "too short for its disk"
    yield "geometry-counts", vpc(4, NONE, disk=1 << 40, creator=b"vpc ", geometry=(1, 4, 4), **small), None
    yield "geometry-zero", vpc(4, disk=4096, creator=b"vpc ", geometry=(0, 0, 0), **small), None
    for name, creator in ("hyper-v", b"win "), ("disk2vhd", b"d2v "), ("xen", b"tap\0"), ("xenconverter", b"CTXS"), ("virtualbox", b"vbox"):
        yield "made-by-" + name, vpc(4, NONE, creator=creator, geometry=(1, 4, 4), **small), None
    yield "bad-cookie", vpc(4, **small).put(0, b"connected"), None
    yield "bad-checksum", vpc(4, **small).be(64, "I", 7), None
    yield "bad-fixed-checksum", Image(bytes(4096)).put(4096, vpc_footer(4096, 2)).be(4096 + 64, "I", 7), None
    yield "end-is-dynamic", vpc(4, **small).put(0, bytes(512)), None
    yield "no-footer-at-end", vpc(4, **small, end=1536 + 512), None
    yield "disk-too-large", vpc(4, disk=1 << 50, **small), "2040 GiB"
    yield "disk-huge", vpc(4, disk=1 << 63, **small), "2040 GiB"
    yield "header-beyond-end", vpc(4, data_offset=1 << 40, **small), "Invalid header magic"
    yield "header-negative", vpc(4, data_offset=(1 << 64) - 512, **small), "Invalid header magic"
    yield "bad-header-cookie", vpc(4, **small).put(512, b"cxdense!"), None
    yield "bad-block-size", vpc(4, **small).be(544, "I", 4097), None
    yield "bad-block-size-0", vpc(4, **small).be(544, "I", 0), None
    yield "block-size-256", vpc(4, **small).be(544, "I", 256), None
    yield "block-size-512", vpc(4, NONE, 6, bits=9), None
    yield "block-size-1g", vpc(NONE, bits=30), None
    yield "table-too-small", vpc(4, disk=1 << 20, **small), None
    yield "table-huge", vpc(4, count=0xffffffff, end=1 << 12, **small), "Max Table Entries too large"
    yield "table-beyond-end", vpc(4, count=1 << 28, end=1 << 12, **small), "does not lie inside the file"
    yield "table-offset-huge", vpc(4, **small).be(528, "Q", 1 << 63), "does not lie inside the file"
    yield "block-beyond-end", vpc(4, 1 << 24, end=1 << 14, **small), None
    yield "block-wild", vpc(4, 0xfffffffe, end=1 << 14, **small), None
    yield "block-over-footer", vpc(0, NONE, **small), "EIO"
    yield "block-over-header", vpc(1, NONE, **small), "EIO"
    yield "block-over-table", vpc(3, NONE, **small), "EIO"
    yield "blocks-twice", vpc(4, 4, NONE, **small), None
    yield "blocks-overlap", vpc(4, 6, NONE, **small), None
    yield "differencing", vpc(4, kind=4, **small), "differencing VHD images are not supported"
    yield "cut-footer", vpc(4, **small).cut(300), None
    yield "cut-header", vpc(4, **small).cut(1000), "Invalid header magic"
    yield "cut-block", vpc(4, 13, **small).cut(8192), None
    yield "empty", Image(b""), None


# --- qcow version 1: header of 48 bytes, L1 table, L2 tables and clusters behind it ---

def qcow(size, *l1, cluster_bits=9, l2_bits=6, l1_offset=512, crypt=0, backing=(0, 0), end=8192):
    """Clusters and L2 tables of 512 bytes; one L1 entry is 32 KiB."""
    image = Image(b"QFI\xfb").be(4, "IQIIQBBHIQ", 1, *backing, 0, size, cluster_bits, l2_bits, 0, crypt, l1_offset)
    for i, entry in enumerate(l1):
        image.be(l1_offset + i * 8, "Q", entry)
    return image.put(end - 1, b"\0")


def packed(offset, size, cluster_bits=9):
    return 1 << 63 | size << 63 - cluster_bits | offset


def qcow_images():
    deflated = bytes([0x01, 0x00, 0x02, 0xff, 0xfd]) + b"z" * 512  # one stored block
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -12)
    squeezed = squeezed.compress(b"ab" * 256) + squeezed.flush()
    bomb = zlib.compressobj(9, zlib.DEFLATED, -12)
    bomb = bomb.compress(bytes(400000)) + bomb.flush()
    one = qcow(65536, 1024, 0).be(1024, "QQQ", 2048, 0, 2560).put(2048, b"A" * 512 + b"B" * 512)
    yield "plain", one, None
    yield "nothing", qcow(65536, 0, 0), None
    yield "large-clusters", qcow(1 << 20, 0, cluster_bits=16, l2_bits=13), None
    yield "packed", qcow(65536, 1024).be(1024, "Q", packed(2048, len(squeezed))).put(2048, squeezed), None
    yield "packed-half-size", qcow(65536, 1024).be(1024, "Q", packed(2048, 3)).put(2048, squeezed), "EIO"
    yield "packed-size-0", qcow(65536, 1024).be(1024, "Q", packed(2048, 0)).put(2048, squeezed), "EIO"
    yield "packed-noise", qcow(65536, 1024).be(1024, "Q", packed(2048, 300)).put(2048, bytes(range(1, 256))), "EIO"
    yield "packed-too-long", qcow(65536, 1024).be(1024, "Q", packed(2048, 511)).put(2048, deflated), "EIO"
    yield "packed-bomb", qcow(65536, 1024).be(1024, "Q", packed(2048, len(bomb))).put(2048, bomb), None
    yield "packed-beyond-end", qcow(65536, 1024).be(1024, "Q", packed(1 << 40, 100)), "EIO"
    yield "packed-everywhere", qcow(65536, 1024, 1024).put(1024, b"\xff" * 512), "EIO"
    yield "bad-magic", qcow(65536, 0).put(0, b"QFIX"), None
    yield "version-2", qcow(65536, 0).be(4, "I", 2), None
    yield "version-9", qcow(65536, 0).be(4, "I", 9), None
    yield "size-0", qcow(0, 0), None
    yield "size-1", qcow(1, 0), None
    yield "size-2", qcow(2, 0), None
    yield "size-odd", qcow(65000, 0, 0), None
    yield "size-huge", qcow((1 << 64) - 1, 0), None
    yield "size-negative", qcow(1 << 63, 0), None
    yield "size-too-large", qcow(1 << 62, 0), None
    yield "cluster-bits-8", qcow(65536, 0, cluster_bits=8), None
    yield "cluster-bits-17", qcow(65536, 0, cluster_bits=17), None
    yield "cluster-bits-200", qcow(65536, 0, cluster_bits=200), None
    yield "l2-bits-5", qcow(65536, 0, l2_bits=5), None
    yield "l2-bits-14", qcow(65536, 0, l2_bits=14), None
    yield "l2-bits-255", qcow(65536, 0, l2_bits=255), None
    yield "crypt-2", qcow(65536, 0, crypt=2), None
    yield "crypt-without-key", qcow(65536, 0, crypt=1), "own"
    yield "l1-beyond-end", qcow(65536, l1_offset=8192, end=8192), "does not lie inside the file"
    yield "l1-offset-huge", qcow(65536, 0).be(40, "Q", (1 << 64) - 8), "does not lie inside the file"
    yield "l1-over-header", qcow(65536, 0).be(40, "Q", 0), "does not lie inside the file"
    yield "l1-large", qcow(1 << 40, 0), "does not lie inside the file"
    yield "l2-beyond-end", qcow(65536, 1 << 40), "EIO"
    yield "l2-negative", qcow(65536, 1 << 63), "EIO"
    yield "l2-is-header", qcow(65536, 8), "own"
    yield "l2-is-l1", qcow(65536, 512, 512), "own"
    yield "l2-twice", qcow(65536, 1024, 1024).be(1024, "Q", 2048), None
    yield "l2-unaligned", qcow(65536, 1031).be(1031, "Q", 2048), None
    yield "l2-at-the-end", qcow(65536, 8192 - 8), "own"
    yield "data-beyond-end", qcow(65536, 1024).be(1024, "Q", 1 << 40), "own"
    yield "data-is-header", qcow(65536, 1024).be(1024, "Q", 16), None
    yield "data-is-l1", qcow(65536, 1024).be(1024, "Q", 512), None
    yield "data-is-l2", qcow(65536, 1024).be(1024, "Q", 1024), None
    yield "data-unaligned", qcow(65536, 1024).be(1024, "Q", 2049), None
    yield "data-twice", qcow(65536, 1024).be(1024, "QQ", 2048, 2048), None
    yield "backing-itself", qcow(65536, 0, backing=(256, 12)).put(256, b"loop.qcow\0\0\0"), "own"
    yield "backing-missing", qcow(65536, 0, backing=(256, 11)).put(256, b"not-here.ab"), "own"
    yield "backing-name-long", qcow(65536, 0, backing=(256, 1024)), None
    yield "backing-name-beyond-end", qcow(65536, 0, backing=(1 << 40, 20)), "own"
    yield "backing-name-empty", qcow(65536, 0, backing=(256, 0)), None
    yield "cut-header", qcow(65536, 0).cut(40), "does not lie inside the file"
    yield "cut-l2", qcow(65536, 1024).cut(1100), "own"
    yield "empty", Image(b""), None


FORMATS = {"qcow": qcow_images, "vdi": vdi_images, "vhdx": vhdx_images, "vmdk": vmdk_images, "vpc": vpc_images}


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
        elif differs == "own" or (name == "differencing" and args[0] == "info"):  # the latter may be described
            pass
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
            if kind == "vhdx":
                continue  # its target takes changes of a good image
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
