/*
 * Rings of events, one per CPU.
 *
 * Writing takes no lock and touches nothing of another CPU. A writer keeps interrupts off (raw, so
 * that the latency measurement does not see it) from taking the next number to the last store, so
 * the events of a ring are in the order of their time stamps and each is whole when the next is
 * begun. Event n lies in slot n mod slots; `lap` says which round it belongs to, and is stored last:
 * a reader of a running guest leaves out a slot whose lap is not the one that it expects. The head
 * counts all events ever written, so those lost to the ring's size are known exactly.
 *
 * Nothing reads a ring in the kernel. tools/trace/ finds `trace_state` by the kernel's symbols in
 * the guest's memory.
 */
#include "debug/trace.h"

#include "arch/api/cpu.h"
#include "arch/api/ctx.h"
#include "debug/anywhere.h"
#include "debug/backtrace.h"
#include "debug/latency.h"
#include "debug/panic.h"
#include "lib/atomic.h"
#include "lib/cmdline.h"
#include "lib/fmt.h"
#include "lib/klog.h"
#include "lib/string.h"

CMDLINE_OPTION("trace", trace_option,
	       "all, or a list of sched,irq,fault,syscall,tlb,sample: record these events");
CMDLINE_OPTION("trace.buffer", buffer_option, "bytes of a CPU's ring of events (16M)");
CMDLINE_OPTION("trace.hz", hz_option, "samples a second (997)");

#define STACK_MAX 24
#define MAP_PATH  88

struct trace_event {
	u64 time;
	u8 kind, a;
	u16 lap;
	u32 tid;
	u64 b, c;
};
_Static_assert(sizeof(struct trace_event) == 32, "tools/trace/ring.py");
#define PER_CHUNK (TRACE_CHUNK / sizeof(struct trace_event))

struct trace_ring {
	u64 head;   /* [o] events written so far */
	u64 slots;  /* [I] 0: no ring */
	u32 tid;    /* [o] the running thread */
	u32 chunks; /* [I] */
	struct trace_event **chunk;
} __aligned(64);

struct trace_thread {
	u32 tid, tgid, parent, unused;
	char name[16];
};

struct trace_mapping {
	u64 time, start, end, offset;
	u32 tgid, unused;
	char path[MAP_PATH];
};

#define THREADS  (TRACE_CHUNK / sizeof(struct trace_thread))
#define MAPPINGS (TRACE_CHUNK / sizeof(struct trace_mapping))

/* What the reader needs; found by its name. */
struct trace_state {
	u32 version, classes;
	struct trace_ring *rings; /* NR_CPUS */
	struct trace_thread *threads;
	struct trace_mapping *mappings;
	atomic64_t nr_threads, nr_mappings; /* [a] ever written: the newest replace the oldest */
	u64 start_time;
};

static struct trace_ring rings[NR_CPUS];
static struct trace_state trace_state;
static void *(*chunk_alloc)(void); /* [I] */

bool (*trace_peek_user)(u64 va, u64 *out);

/* ---- writing ------------------------------------------------------------------------------------- */

static void put(struct trace_ring *r, enum trace_kind kind, unsigned a, u64 b, u64 c)
{
	u64 n = r->head;
	struct trace_event *e = &r->chunk[n % r->slots / PER_CHUNK][n % PER_CHUNK];

	WRITE_ONCE(e->lap, 0);
	barrier();
	r->head = n + 1;
	e->time = cpu_cycles();
	e->kind = (u8)kind;
	e->a = (u8)a;
	e->tid = r->tid;
	e->b = b;
	e->c = c;
	barrier();
	WRITE_ONCE(e->lap, (u16)(n / r->slots + 1));
}

static void event(unsigned class, enum trace_kind kind, unsigned a, u64 b, u64 c)
{
	if (!(trace_state.classes & class))
		return;
	u64 flags = irq_save_raw();
	struct trace_ring *r = &rings[cpu_id()];

	if (r->slots)
		put(r, kind, a, b, c);
	irq_restore_raw(flags);
}

void trace_switch(u32 prev, u32 state, u32 next, unsigned why, u64 caller)
{
	struct trace_ring *r = &rings[cpu_id()];

	r->tid = prev;
	event(TRACE_SCHED, EV_SWITCH, why | state << 4, next, caller);
	r->tid = next;
}

void trace_wake(u32 tid)
{
	event(TRACE_SCHED, EV_WAKE, 0, tid, 0);
}

void trace_fault_kind(enum trace_fault_kind kind)
{
	event(TRACE_FAULT, EV_FAULT_KIND, kind, 0, 0);
}

void trace_flush(enum trace_flush kind, u64 start, u64 end)
{
	event(TRACE_TLB, EV_FLUSH, kind, start, end);
}

void hook_cr3(u64 pc, u64 value)
{
	event(TRACE_TLB, EV_CR3, 0, value, pc);
}

/* ---- the entries --------------------------------------------------------------------------------- */

void hook_syscall_enter(const struct regs *r)
{
	event(TRACE_SYSCALL, EV_SYSCALL_ENTER, 0, regs_syscall_nr(r), regs_syscall_arg(r, 0));
}

void hook_syscall_exit(const struct regs *r)
{
	event(TRACE_SYSCALL, EV_SYSCALL_EXIT, 0, regs_syscall_nr(r), regs_return(r));
}

void hook_interrupt_enter(const struct regs *r, unsigned vector)
{
	event(TRACE_IRQ, EV_IRQ_ENTER, regs_from_user(r), vector, regs_pc(r));
}

void hook_interrupt_exit(unsigned vector)
{
	event(TRACE_IRQ, EV_IRQ_EXIT, 0, vector, 0);
}

void hook_fault_enter(const struct regs *r, u64 va, u64 error)
{
	event(TRACE_FAULT, EV_FAULT_ENTER, (u8)error, va, regs_pc(r));
}

void hook_fault_exit(void)
{
	event(TRACE_FAULT, EV_FAULT_EXIT, 0, 0, 0);
}

void hook_fault_failed(u64 va, int code)
{
	event(TRACE_FAULT, EV_FAULT_FAILED, 0, va, (u64)(s64)code);
}

void hook_trap_enter(const struct regs *r, unsigned vector)
{
	event(TRACE_FAULT, EV_TRAP_ENTER, 0, vector, regs_pc(r));
}

void hook_trap_exit(unsigned vector)
{
	event(TRACE_FAULT, EV_TRAP_EXIT, 0, vector, 0);
}

/* ---- samples ------------------------------------------------------------------------------------- */

/* Frame pointers of a program, as far as they look like a chain: upwards, within 8 MiB. */
static unsigned user_stack(u64 fp, u64 sp, u64 *pcs, unsigned max)
{
	unsigned n = 0;
	u64 next, pc;

	while (n < max && fp >= sp && fp - sp < 8 * MiB && IS_ALIGNED(fp, sizeof(u64)) &&
	       trace_peek_user(fp, &next) && trace_peek_user(fp + 8, &pc) && pc) {
		pcs[n++] = pc;
		if (next <= fp)
			break;
		fp = next;
	}
	return n;
}

/* A function without a frame has its return address there; the reader can tell. */
static bool stack_top(const struct regs *r, bool user, u64 *out)
{
	u64 sp = regs_sp(r);

	if (user)
		return trace_peek_user && trace_peek_user(sp, out);
	if (!IS_ALIGNED(sp, sizeof(u64)) || !debug_readable || !debug_readable(sp))
		return false;
	*out = *(const u64 *)sp;
	return true;
}

unsigned trace_sample_hz(void)
{
	u64 hz = cmdline_u64(&hz_option, 997);

	if (!(trace_state.classes & TRACE_SAMPLE) || !rings[cpu_id()].slots)
		return 0;
	return (unsigned)MIN(MAX(hz, 1ul), 100000ul);
}

void trace_sample(u64 now_ns)
{
	const struct regs *r = this_cpu_read(irq_regs);
	u64 pcs[STACK_MAX + 1] = { 0 }, top;
	unsigned n = 0;

	if (!r)
		return;
	bool user = regs_from_user(r);

	if (!user)
		n = backtrace_collect(regs_frame_pointer(r), pcs, STACK_MAX);
	else if (trace_peek_user)
		n = user_stack(regs_frame_pointer(r), regs_sp(r), pcs, STACK_MAX);
	event(TRACE_SAMPLE, EV_SAMPLE, user, regs_pc(r), now_ns);
	if (stack_top(r, user, &top))
		event(TRACE_SAMPLE, EV_STACK_TOP, 0, top, 0);
	for (unsigned i = 0; i < n; i += 2)
		event(TRACE_SAMPLE, EV_STACK, MIN(n - i, 2u), pcs[i], pcs[i + 1]);
}

/* ---- names --------------------------------------------------------------------------------------- */

void trace_name_thread(u32 tid, u32 tgid, u32 parent, const char *name)
{
	if (!trace_state.threads || tid == 0)
		return;
	u64 n = atomic_fetch_add(&trace_state.nr_threads, 1ul);
	struct trace_thread *t = &trace_state.threads[n % THREADS];

	*t = (struct trace_thread){ .tid = tid, .tgid = tgid, .parent = parent };
	kstrlcpy(t->name, name, sizeof(t->name));
}

void trace_rename_current(u32 tid)
{
	u64 flags = irq_save_raw();

	rings[cpu_id()].tid = tid;
	irq_restore_raw(flags);
}

void trace_map(u32 tgid, u64 start, u64 end, u64 offset, const char *path)
{
	if (!trace_state.mappings)
		return;
	u64 n = atomic_fetch_add(&trace_state.nr_mappings, 1ul);
	struct trace_mapping *m = &trace_state.mappings[n % MAPPINGS];

	*m = (struct trace_mapping){ cpu_cycles(), start, end, offset, .tgid = tgid };
	kstrlcpy(m->path, path, sizeof(m->path));
}

/* ---- boot ---------------------------------------------------------------------------------------- */

/* The classes that a list names; unknown words are told. */
static u32 parse_classes(const char *list)
{
	static const char *const name[] = { "sched", "irq", "fault", "syscall", "tlb", "sample" };
	u32 classes = 0;

	while (*list) {
		const char *end = strchr(list, ',');
		size_t len = end ? (size_t)(end - list) : strlen(list);
		u32 bit = 0;

		if (len == 3 && !strncmp(list, "all", 3))
			bit = (1u << ARRAY_SIZE(name)) - 1;
		for (unsigned i = 0; i < ARRAY_SIZE(name); i++)
			if (strlen(name[i]) == len && !strncmp(list, name[i], len))
				bit = 1u << i;
		if (!bit)
			log_warn("trace: there is no class of events '%s'; known: all, sched, irq, "
				 "fault, syscall, tlb, sample\n",
				 list);
		classes |= bit;
		list += len + (end != NULL);
	}
	return classes;
}

void trace_early_init(void)
{
	unsigned hooks = latency_early_init();

	trace_state.version = TRACE_VERSION;
	trace_state.rings = rings;
	if (trace_option.value)
		trace_state.classes =
			parse_classes(*trace_option.value ? trace_option.value : "all");
	if (trace_state.classes)
		hooks |= HOOK_TRACE | HOOK_EVENT;
	hooks |= anywhere_early_init(hooks);
	if (hooks)
		hook_enable(hooks);
}

void trace_cpu_init(void *(*alloc)(void))
{
	struct trace_ring *r = &rings[cpu_id()];
	u64 bytes = cmdline_size(&buffer_option, 16 * MiB);
	u32 want = (u32)MIN(MAX(bytes / TRACE_CHUNK, 1ul), TRACE_CHUNK / sizeof(void *));

	if (!trace_state.classes)
		return;
	if (!chunk_alloc) {
		chunk_alloc = alloc;
		trace_state.threads = alloc();
		trace_state.mappings = alloc();
		trace_state.start_time = cpu_cycles();
	}
	r->chunk = chunk_alloc();
	while (r->chunk && r->chunks < want && (r->chunk[r->chunks] = chunk_alloc()))
		r->chunks++;
	if (r->chunks < want)
		log_warn("trace: memory for %u of %u MiB only\n", r->chunks, want);
	store_release(&r->slots, r->chunks * PER_CHUNK);
}

void trace_show(struct textbuf *t)
{
	for (u32 cpu = 0; cpu < NR_CPUS; cpu++) {
		const struct trace_ring *r = &rings[cpu];
		u64 head = READ_ONCE(r->head);

		if (r->slots)
			textbuf_printf(t, "cpu%u events %lu lost %lu\n", cpu, head,
				       head > r->slots ? head - r->slots : 0);
	}
	if (!trace_state.classes)
		textbuf_printf(t, "off: boot with trace=all\n");
}
