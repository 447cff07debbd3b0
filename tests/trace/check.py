"""Checks of one trace. Prints TAP lines; the sentences are the claims.

usage: check.py forced|given RAM KERNEL [NAME...]   the switches between these threads
       check.py json FILE                           a trace viewer's file
       check.py svg FILE TEXT...                    a picture that shows these texts
       check.py calls EVENTS NAME COUNT             a thread's system calls and their numbers
"""

import bisect
import json
import os
import sys
import xml.dom.minidom

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT + "/tools/guest")

import ring  # noqa: E402
import spans  # noqa: E402
from memory import Kernel, Memory  # noqa: E402


def say(good, claim, *notes):
    print(("ok - " if good else "not ok - ") + claim)
    if not good:
        for note in notes:
            print("# %s" % note)


def between(trace, names):
    """The switches from one of the named threads to another while it lives: runs that ended so."""
    found = spans.Spans(trace)
    return [r for r in found.runs if r.next is not None and r.tid != r.next
            and r.state != ring.DEAD and trace.name(r.tid) in names and trace.name(r.next) in names], found


def forced(ram, kernel, *names):
    """Each switch between them came from the timer: directly behind its interrupt, never a yield."""
    trace = ring.Trace(Memory(ram), Kernel(kernel))
    switches, found = between(trace, names)
    timer = spans.Names(ROOT).vectors["VEC_LAPIC_TIMER"]
    irq_ends = {s.end: s.number for s in found.spans if s.kind == "irq"}
    ends = sorted(irq_ends)
    say(len(switches) >= 200, "there are at least 200 switches between %s" % ", ".join(names),
        "%d" % len(switches))
    say(not sum(trace.lost.values()), "no event was lost", trace.lost)
    by = {why: sum(ring.WHY[r.why] == why for r in switches) for why in ring.WHY}
    say(by["yield"] == 0 and by["block"] == 0, "none of them is a yield or a sleep", by)
    say(by["preempt"] == len(switches) > 0, "each of them is a preemption", by)
    wrong = []
    for run in switches:
        i = bisect.bisect_right(ends, run.end) - 1
        if not run.by_timer or i < 0 or irq_ends[ends[i]] != timer or ends[i] < run.start:
            wrong.append("%.3f ms, %s" % (trace.us(run.end) / 1000, trace.label(run.tid)))
    say(not wrong and len(switches) > 0,
        "each of them follows a timer interrupt of that slice, with nothing in between", *wrong[:5])
    time = {n: sum(r.end - r.start for r in switches if trace.name(r.tid) == n) for n in names}
    share = sum(time.values()) / len(names)
    say(all(0.9 * share < t < 1.1 * share for t in time.values()), "each has its third of the time",
        time)


def given(ram, kernel, *names):
    """The opposite, so that `forced` is known to see it: threads that yield."""
    trace = ring.Trace(Memory(ram), Kernel(kernel))
    switches, _ = between(trace, names)
    n = sum(ring.WHY[r.why] == "yield" for r in switches)
    say(n >= 2000, "threads that yield are seen to yield", "%d of %d" % (n, len(switches)))


def viewer(path):
    with open(path, encoding="ascii") as f:
        events = json.load(f)["traceEvents"]
    say(len(events) > 100, "%s is JSON with events" % os.path.basename(path), len(events))
    bad = [e for e in events if e["ph"] not in "XMi" or "pid" not in e or "tid" not in e
           or (e["ph"] == "X" and (e["dur"] < 0 or e["ts"] < 0))]
    say(not bad, "each event has what the viewers want", *bad[:3])
    # Slices of one track must nest, else viewers show nonsense.
    tracks = {}
    for e in events:
        if e["ph"] == "X":
            tracks.setdefault((e["pid"], e["tid"]), []).append((e["ts"], -e["dur"]))
    crossing = 0
    for slices in tracks.values():
        stack = []
        for ts, dur in sorted(slices):
            while stack and stack[-1] <= ts + 1e-6:
                stack.pop()
            if stack and ts - dur > stack[-1] + 1e-3:
                crossing += 1
            stack.append(ts - dur)
    say(crossing == 0, "slices of a track nest", crossing)


def picture(path, *texts):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    xml.dom.minidom.parseString(text)
    missing = [t for t in texts if t not in text]
    say(not missing, "%s is well-formed and shows %s" % (os.path.basename(path), ", ".join(texts)),
        "missing: %s" % missing)


def calls(path, name, count):
    nr = next(n for n, s in spans.Names(ROOT).syscalls.items() if s == name)
    enter = leave = 0
    with open(path, encoding="ascii") as f:
        for line in f:
            words = line.rstrip("\n").split("\t")
            if "b=%#x" % nr in words:
                enter += words[3] == "syscall_enter"
                leave += words[3] == "syscall_exit"
    say(enter == leave == int(count), "%s calls of %s are recorded, in and out" % (count, name),
        "in %d, out %d" % (enter, leave))


if __name__ == "__main__":
    {"forced": forced, "given": given, "json": viewer, "svg": picture,
     "calls": calls}[sys.argv[1]](*sys.argv[2:])
