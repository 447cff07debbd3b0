"""Names of a program's functions: which file a process had mapped at an address, and that file's
symbols, if the host has it."""

from memory import Functions, elf_segments, run_nm


class Elf:
    """Functions by offset in the file, so that it does not matter where it was mapped."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.image = f.read()
        symbols = run_nm(path, "-C") or run_nm(path, "-D", "-C")
        segments = elf_segments(self.image)
        moved = []
        for address, size, kind, name in symbols:
            for vaddr, offset, length in segments:
                if vaddr <= address < vaddr + length:
                    moved.append((address - vaddr + offset, size, kind, name))
        moved.sort()
        self.functions = Functions(moved, lambda offset, n: self.image[max(offset, 0) : offset + n])


class Programs:
    def __init__(self, trace, files):
        self.trace = trace
        self.files = files  # guest path: host path
        self.elf = {}
        self.cache = {}

    def mapping(self, tgid, pc, time):
        """(path, offset) of what the process has there; (None, 0)."""
        seen = set()
        while tgid and tgid not in seen:
            seen.add(tgid)
            for at, start, end, offset, path in reversed(self.trace.mappings.get(tgid, [])):
                if at <= time and start <= pc < end:
                    return path, pc - start + offset
            tgid = self.trace.threads.get(tgid, [0, 0, ""])[1]  # forked: its parent's
        return None, 0

    def file(self, path):
        host = self.files.get(path)
        if host is None:
            return None
        if host not in self.elf:
            self.elf[host] = Elf(host)
        return self.elf[host]

    def name(self, tid, pc, time):
        tgid = self.trace.tgid(tid)
        key = (tgid, pc)
        if key not in self.cache:
            path, offset = self.mapping(tgid, pc, time)
            elf = self.file(path)
            name = elf.functions.name(offset) if elf else None
            short = path.rsplit("/", 1)[-1] if path else "unknown"
            self.cache[key] = name or "[%s]" % short
        return self.cache[key]

    def is_return_from(self, tid, back, pc, time):
        tgid = self.trace.tgid(tid)
        path, offset = self.mapping(tgid, pc, time)
        where, back_offset = self.mapping(tgid, back, time)
        elf = self.file(path)
        return bool(elf) and where == path and elf.functions.is_return_from(back_offset, offset)
