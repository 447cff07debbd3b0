"""The trace in the JSON form of Chrome's trace viewer, which ui.perfetto.dev opens as well.

Process 0 are the CPUs: a track of who ran, one of interrupts. Each process has a track for each of
its threads: system calls, and in them faults. Times are microseconds since the first event."""

import json

import ring
from spans import fault_name


def events(spans, names, kernel):
    trace = spans.trace
    us = trace.us

    def meta(name, pid, tid, value):
        return {"ph": "M", "name": name, "pid": pid, "tid": tid, "args": {"name": value}}

    yield meta("process_name", 0, 0, "CPUs")
    for cpu in trace.events:
        yield meta("thread_name", 0, 2 * cpu, "CPU %d" % cpu)
        yield meta("thread_name", 0, 2 * cpu + 1, "CPU %d interrupts" % cpu)
    tids = {run.tid for run in spans.runs} | {s.tid for s in spans.spans}
    for tid in sorted(tids - trace.idle):
        tgid = trace.tgid(tid)
        yield meta("process_name", tgid, tid, trace.name(tgid))
        yield meta("thread_name", tgid, tid, trace.label(tid))
    for run in spans.runs:
        if run.tid in trace.idle:
            continue
        args = {"tid": run.tid}
        if run.why is not None:
            args["left by"] = ring.WHY[run.why]
            args["at"] = kernel.name(run.caller)
            args["next"] = trace.label(run.next)
        yield {"ph": "X", "pid": 0, "tid": 2 * run.cpu, "ts": us(run.start), "cat": "sched",
               "dur": trace.span_us(run.end - run.start), "name": trace.label(run.tid),
               "args": args}
    for span in spans.spans:
        yield one_span(trace, names, span)
    for time, cpu, tid, woken in spans.wakes:
        yield {"ph": "i", "s": "t", "pid": 0, "tid": 2 * cpu, "ts": us(time), "cat": "sched",
               "name": "wake " + trace.label(woken), "args": {"by": trace.label(tid)}}
    for time, cpu, tid, a, start, end in spans.flushes:
        yield {"ph": "i", "s": "t", "pid": trace.tgid(tid), "tid": tid, "ts": us(time), "cat": "tlb",
               "name": "flush " + ring.FLUSHES[a], "args": {"start": hex(start), "end": hex(end)}}
    for time, cpu, tid, keep, root in spans.loads:
        yield {"ph": "i", "s": "t", "pid": 0, "tid": 2 * cpu, "ts": us(time), "cat": "tlb",
               "name": "CR3 load", "args": {"root": hex(root), "kept": bool(keep)}}


def one_span(trace, names, span):
    end = trace.last if span.end is None else span.end
    e = {"ph": "X", "ts": trace.us(span.start), "dur": trace.span_us(end - span.start),
         "cat": span.kind, "pid": trace.tgid(span.tid), "tid": span.tid, "args": {}}
    if span.kind == "irq":
        e.update(pid=0, tid=2 * span.cpu + 1, name=names.vector(span.number))
        e["args"] = {"vector": hex(span.number), "pc": hex(span.value)}
    elif span.kind == "fault":
        e["name"] = "fault: " + fault_name(span)
        e["args"] = {"address": hex(span.value), "error": hex(span.number)}
    elif span.kind == "trap":
        e["name"] = "exception %d" % span.number
        e["args"] = {"pc": hex(span.value)}
    else:
        e["name"] = names.syscall(span.number)
        e["args"] = {"first argument": hex(span.value), "result": span.result}
    return e


def write(path, spans, names, kernel):
    count = 0
    with open(path, "w", encoding="ascii") as f:
        f.write('{"displayTimeUnit":"ns","traceEvents":[\n')
        for event in events(spans, names, kernel):
            f.write(("" if count == 0 else ",\n") + json.dumps(event, separators=(",", ":")))
            count += 1
        f.write("\n]}\n")
    return count
