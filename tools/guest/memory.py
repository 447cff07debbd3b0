"""A guest's memory, in the file that QEMU keeps it in (tools/run-qemu --ram), while it runs and
after its end; and the kernel's symbols, which say where in it something lies.

Physical addresses below 4 GiB and above it are two parts of the file, as the machine splits them.
Kernel addresses need no page walk: the image and the map of all memory are linear.
"""

import bisect
import mmap
import os
import struct
import subprocess

KERNEL_BASE = 0xFFFFFFFF80000000  # arch/x86/machine/memlayout.h
DIRECT_MAP = 0xFFFF800000000000
DIRECT_MAP_END = 0xFFFFC00000000000

GIB4 = 1 << 32


class GuestError(Exception):
    """What the user is told, in one line."""


class Memory:
    def __init__(self, path, machine="q35"):
        size = os.path.getsize(path)
        if size == 0:
            raise GuestError("%s is empty: not a guest's memory" % path)
        # hw/i386 of QEMU: where memory goes on above 4 GiB.
        if machine == "q35":
            low = 0x80000000 if size >= 0xB0000000 else 0xB0000000
        else:
            low = 0xC0000000 if size >= 0xE0000000 or machine == "microvm" else 0xE0000000
        self.size, self.low = size, min(size, low)
        with open(path, "rb") as f:
            self.map = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)

    def offset(self, pa, n):
        at = pa if pa < self.low else self.low + pa - GIB4 if pa >= GIB4 else -1
        if at < 0 or at + n > self.size:
            raise GuestError("the guest has no memory at physical address %#x" % pa)
        return at

    def phys(self, pa, n):
        at = self.offset(pa, n)
        return self.map[at : at + n]

    def virt_to_phys(self, va):
        if va >= KERNEL_BASE:
            return va - KERNEL_BASE
        if DIRECT_MAP <= va < DIRECT_MAP_END:
            return va - DIRECT_MAP
        raise GuestError("%#x is no linear kernel address" % va)

    def virt(self, va, n):
        return self.phys(self.virt_to_phys(va), n)

    def unpack(self, fmt, va):
        return struct.unpack("<" + fmt, self.virt(va, struct.calcsize("<" + fmt)))

    def u64(self, va):
        return self.unpack("Q", va)[0]

    def text(self, va, n):
        return self.virt(va, n).split(b"\0")[0].decode("ascii", "replace")


def run_nm(path, *options):
    """(address, size, type, name), by address; nothing for a file without symbols."""
    out = subprocess.run(["nm", "-n", "-S", "--defined-only", *options, path],
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
    symbols = []
    for line in out.decode("utf-8", "replace").splitlines():
        words = line.split(None, 3)
        if len(words) == 4 and len(words[1]) == 16:
            symbols.append((int(words[0], 16), int(words[1], 16), words[2], words[3]))
        else:
            words = line.split(None, 2)
            if len(words) == 3:
                symbols.append((int(words[0], 16), 0, words[1], words[2]))
    return symbols


def elf_segments(image):
    """(address, offset in the file, length) of what an ELF file has loaded."""
    try:
        phoff, = struct.unpack_from("<Q", image, 32)
        phentsize, phnum = struct.unpack_from("<HH", image, 54)
        headers = [struct.unpack_from("<IIQQQQQ", image, phoff + i * phentsize)
                   for i in range(phnum)]
        return [(h[3], h[2], h[5]) for h in headers if h[0] == 1]
    except struct.error:
        return []


class Functions:
    """Names of code by address; bytes(address, n) reads code, for `calls`."""

    def __init__(self, symbols, read=None):
        code = [(a, s, n) for a, s, t, n in symbols if t in "tTwWiu"]
        self.at = [c[0] for c in code]
        self.code = code
        self.read = read

    def find(self, address):
        """(start, size, name) or None."""
        i = bisect.bisect_right(self.at, address) - 1
        if i < 0 or (self.code[i][1] and address >= self.code[i][0] + self.code[i][1]):
            return None
        return self.code[i]

    def name(self, address):
        found = self.find(address)
        return found[2] if found else None

    def is_return_from(self, back, address):
        """Is `back` the address behind a direct call of the function that `address` is in?"""
        found = self.find(address)
        call = self.read(back - 5, 5) if found and self.read else b""
        return (len(call) == 5 and call[0] == 0xE8
                and back + struct.unpack("<i", call[1:])[0] == found[0])


class Kernel:
    def __init__(self, path):
        symbols = run_nm(path)
        if not symbols:
            raise GuestError("%s has no symbols: is it the kernel that ran?" % path)
        self.address = {name: at for at, _, _, name in symbols}
        with open(path, "rb") as f:
            self.image = f.read()
        self.segments = elf_segments(self.image)
        self.functions = Functions([s for s in symbols if s[0] >= KERNEL_BASE], self.code)

    def code(self, address, n):
        for vaddr, offset, length in self.segments:
            if vaddr <= address < vaddr + length:
                return self.image[address - vaddr + offset : address - vaddr + offset + n]
        return b""

    def __getitem__(self, name):
        if name not in self.address:
            raise GuestError("the kernel has no symbol %s: is it the kernel that ran?" % name)
        return self.address[name]

    def name(self, pc):
        name = self.functions.name(pc)
        return name.split(".")[0] if name else "%#x" % pc
