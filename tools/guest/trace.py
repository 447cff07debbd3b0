"""trace: reads the trace out of a guest's memory and writes it in all forms (docs/tracing.md).

Called by ./jiffy trace when the guest has ended. Files in the output directory:
  trace.json      for a trace viewer (ui.perfetto.dev, chrome://tracing)
  stacks.folded   the samples' stacks, one line each
  flame.svg       the same as a picture
  timeline.svg    which thread ran when
  summary.txt     the tables that are printed as well
"""

import argparse
import os
import sys

import chrome
import flame
import ring
import spans
import symbols
import timeline
from memory import GuestError, Kernel, Memory
from summary import Tables


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument("--ram", required=True)
    p.add_argument("--kernel", required=True)
    p.add_argument("--machine", default="q35")
    p.add_argument("--out", required=True)
    p.add_argument("--files", help="a file of lines HOST=GUEST: where programs are on this machine")
    p.add_argument("--title", default="")
    p.add_argument("--events", action="store_true", help="print every event as a line, and no more")
    return p.parse_args()


def read_files(path):
    files = {}
    if path:
        with open(path, encoding="utf-8") as f:
            for line in f:
                host, _, guest = line.rstrip("\n").rpartition("=")
                if host:
                    files[guest] = host
    return files


def print_events(trace, kernel):
    """For tests and other tools: time in ns, CPU, tid, and what happened, separated by tabs."""
    words = ["none", "switch", "wake", "irq_enter", "irq_exit", "fault_enter", "fault_kind",
             "fault_failed", "fault_exit", "trap_enter", "trap_exit", "syscall_enter",
             "syscall_exit", "flush", "cr3", "sample", "stack", "stack_top"]
    for time, cpu, kind, a, tid, b, c in trace.merged():
        if kind == ring.SWITCH:
            rest = ["why=" + ring.WHY[a & 15], "prev=" + trace.name(tid), "next=" + trace.name(b),
                    "at=" + kernel.name(c)]
        else:
            rest = ["a=%d" % a, "b=%#x" % b, "c=%#x" % c]
        print("\t".join(["%d" % (trace.us(time) * 1000), str(cpu), str(tid), words[kind]] + rest))


def main():
    args = arguments()
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    kernel = Kernel(args.kernel)
    trace = ring.Trace(Memory(args.ram, args.machine), kernel)
    if args.events:
        print_events(trace, kernel)
        return
    found = spans.Spans(trace)
    names = spans.Names(root)
    folded, idle = flame.fold(found, kernel, symbols.Programs(trace, read_files(args.files)))
    os.makedirs(args.out, exist_ok=True)
    title = args.title or "trace"
    chrome.write(args.out + "/trace.json", found, names, kernel)
    flame.write_folded(args.out + "/stacks.folded", folded)
    flame.draw(args.out + "/flame.svg", folded, "Flame graph: " + title,
               "%d samples, %d more while idle; a box is as wide as its share of the samples" % (
                   sum(folded.values()), idle))
    timeline.draw(args.out + "/timeline.svg", found, names, "Timeline: " + title)
    with open(args.out + "/summary.txt", "w", encoding="utf-8") as f:
        Tables(found, names, f).all(folded, idle)
    with open(args.out + "/summary.txt", encoding="utf-8") as f:
        sys.stdout.write(f.read())


if __name__ == "__main__":
    try:
        main()
    except GuestError as e:
        sys.exit("jiffy: %s" % e)
