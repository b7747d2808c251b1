# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes bootable media out of files, with the tools of Debian's packages and without loop devices."""
import os
import pathlib
import shutil
import struct
import subprocess

from system import GUEST, HERE, need, run, skip

SECTOR = 512
GRUB = pathlib.Path("/usr/lib/grub")
MODULES = ("biosdisk part_msdos ext2 fat iso9660 normal configfile linux multiboot boot serial terminal echo ls cat search "
           "search_label minicmd halt reboot test sleep").split()


def partition(start, sectors, kind, active):
    return struct.pack("<B3sB3sII", 0x80 if active else 0, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", start, sectors)


def embed_grub(disk, prefix):
    """GRUB's boot sector and core image before the first partition, as grub-install would put them."""
    core = disk.with_suffix(".core")
    run("grub-mkimage", "-O", "i386-pc", "-p", prefix, "-o", core, *MODULES)
    boot = (GRUB / "i386-pc/boot.img").read_bytes()
    assert core.stat().st_size < 2047 * SECTOR
    with open(disk, "r+b") as file:
        file.write(boot[:440])  # what follows is the disk's number and the partitions
        file.seek(SECTOR)  # boot.img and the core's first sector look there when nobody tells them otherwise
        file.write(core.read_bytes())


def copy_sparse(source, target, at):
    """The data of a file, not its holes, into another one from an offset on."""
    with open(source, "rb") as src, open(target, "r+b") as dst:
        size, offset = os.fstat(src.fileno()).st_size, 0
        while offset < size:
            try:
                offset = os.lseek(src.fileno(), offset, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(src.fileno(), offset, os.SEEK_HOLE)
            os.lseek(dst.fileno(), at + offset, os.SEEK_SET)
            while offset < end:
                offset += os.sendfile(dst.fileno(), src.fileno(), offset, end - offset)


def extend(folder, initrd, *programs):
    """An initramfs with files of this directory in its /bin; returns the path."""
    tree, extended = folder / "tree", folder / "initrd.img"
    (tree / "bin").mkdir(parents=True)
    for name in programs:
        shutil.copy(HERE / name, tree / "bin")
    names = "\n".join(f"bin/{name}" for name in programs)
    archive = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, check=True, capture_output=True, input=names.encode()).stdout
    base = initrd.read_bytes()
    # The kernel looks for another archive at multiples of four bytes only.
    extended.write_bytes(base + bytes(-len(base) % 4) + archive)
    return extended


def debian(folder, flavour, device):
    """A disk with GRUB for BIOS and for EFI, Debian's kernel and root file system; `device` is Linux' name of it.

    The root file system is the one of guests/make-debian; the kernel and its initramfs go into its /boot.
    """
    need((GRUB / "i386-pc/boot.img", "grub-pc-bin"), (GRUB / "x86_64-efi/moddep.lst", "grub-efi-amd64-bin"),
         ("grub-mkimage", "grub-common"), ("debugfs", "e2fsprogs"), ("mcopy", "mtools"), ("mkfs.fat", "dosfstools"))
    if not (GUEST / "debian.raw").exists():
        skip("no Debian root file system; make it with guests/make-debian .cache/guest")
    if not (GUEST / flavour / "vmlinuz").exists():
        skip(f"no kernel; make it with guests/make-guest .cache/guest/{flavour} {flavour}")
    menu = folder / "grub.cfg"
    menu.write_text(f"""set timeout=-1
menuentry "Debian on {device}" {{
	linux /boot/vmlinuz console=ttyS0 quiet rdinit=/bin/start-root root=/dev/{device}1
	initrd /boot/initrd.img
}}
menuentry "The second" {{
	halt
}}
""")
    fstab = folder / "fstab"
    fstab.write_text(f"/dev/{device}1 / ext4 defaults 0 1\n")

    initrd = extend(folder, GUEST / flavour / "initrd.img", "start-root")
    root = (GUEST / "debian.raw").stat().st_size
    start, efi_start, efi_size = 1 << 20, (1 << 20) + root, 16 << 20
    disk = folder / "disk.raw"
    with open(disk, "wb") as file:
        file.truncate(efi_start + efi_size)
        file.seek(446)
        file.write(partition(start // SECTOR, root // SECTOR, 0x83, True) +
                   partition(efi_start // SECTOR, efi_size // SECTOR, 0xef, False) + bytes(32) + b"\x55\xaa")
    copy_sparse(GUEST / "debian.raw", disk, start)
    commands = f"""mkdir /boot/grub
write {menu} /boot/grub/grub.cfg
write {GUEST / flavour / 'vmlinuz'} /boot/vmlinuz
write {initrd} /boot/initrd.img
rm /etc/fstab
write {fstab} /etc/fstab
"""
    run("debugfs", "-w", "-f", "-", f"{disk}?offset={start}", input=commands.encode())
    embed_grub(disk, "(hd0,msdos1)/boot/grub")

    loader, early, efi = folder / "bootx64.efi", folder / "early.cfg", folder / "efi.raw"
    early.write_text("search --set=root --label debian\nset prefix=($root)/boot/grub\n")
    run("grub-mkimage", "-O", "x86_64-efi", "-p", "/EFI/BOOT", "-c", early, "-o", loader,
        *[m for m in MODULES if m not in ("biosdisk", "multiboot")])
    subprocess.run(["mkfs.fat", "-C", efi, str(efi_size >> 10)], check=True, stdout=subprocess.DEVNULL)
    run("mmd", "-i", efi, "::EFI", "::EFI/BOOT")
    run("mcopy", "-i", efi, loader, "::EFI/BOOT/BOOTX64.EFI")
    copy_sparse(efi, disk, efi_start)
    efi.unlink()
    return disk
