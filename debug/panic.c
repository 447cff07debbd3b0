/*
 * The end of a kernel that found itself broken: everything about it on every sink, then the marker
 * line "jiffy: panic" and the end of the machine with a status that tells a test from a success.
 *
 * The first CPU that panics owns the machine. It takes no lock that it could find held, reads
 * nothing that debug_readable does not vouch for, and allocates nothing. A panic of the same CPU
 * within its panic prints one line and ends; one within that ends at once. The other CPUs are
 * stopped by an NMI (debug/watchdog.c), so that they neither add to the damage nor wait in vain; those
 * that get here themselves wait for ever with interrupts off.
 */
#include "debug/panic.h"

#include "arch/api/cpu.h"
#include "arch/api/ipi.h"
#include "arch/api/upcall.h"
#include "debug/backtrace.h"
#include "lib/atomic.h"
#include "lib/fmt.h"
#include "lib/klog.h"
#include "machine/memlayout.h"

#define CODE_BEFORE 16
#define CODE_AFTER  24

void (*panic_describe_thread)(char *buf, size_t n);
bool (*debug_readable)(u64 va);
void (*panic_flush)(void);

static atomic_t panic_cpu; /* [a] the first panicking CPU + 1 */
static u32 panic_depth;    /* [panic_cpu] */

bool panic_in_progress(void)
{
	return atomic_load(&panic_cpu) != 0;
}

bool panic_is_mine(void)
{
	return atomic_load(&panic_cpu) == cpu_id() + 1;
}

__printf(1, 2) static void panic_print(const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	kvsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	klog(KLOG_ERR, "%s", line);
}

static bool code_readable(u64 va)
{
	extern const char __text_start[], __text_end[];

	if (va >= (u64)__text_start && va < (u64)__text_end)
		return true;
	return va >= KERNEL_SPACE && debug_readable && debug_readable(va);
}

static void code_log(u64 pc)
{
	char buf[(CODE_BEFORE + CODE_AFTER) * 5 + 1];
	struct textbuf text = { .buf = buf, .size = sizeof(buf) };

	for (u64 va = pc - CODE_BEFORE; va != pc + CODE_AFTER; va++) {
		if (!code_readable(va))
			textbuf_printf(&text, va == pc ? " <\?\?>" : " \?\?");
		else
			textbuf_printf(&text, va == pc ? " <%02x>" : " %02x", *(const u8 *)va);
	}
	klog(KLOG_ERR, "code:%s\n", buf);
}

/* A call of a wild pointer leaves no frame: its return address is on top of the stack. */
static void caller_log(const struct regs *r)
{
	u64 sp = regs_sp(r), offset, size, caller;
	char where[80];

	if (symbol_lookup(regs_pc(r), &offset, &size) || !IS_ALIGNED(sp, sizeof(u64)) ||
	    sp < KERNEL_SPACE || !debug_readable || !debug_readable(sp))
		return;
	caller = *(const u64 *)sp;
	if (symbol_lookup(caller, &offset, &size))
		klog(KLOG_ERR, "called from %s\n", symbol_format(where, sizeof(where), caller));
}

__noreturn static void panic_end(void)
{
	klog(KLOG_ERR, "jiffy: panic\n");
	if (panic_flush)
		panic_flush();
	machine_end(MACHINE_PANIC);
}

/* Returns on the one CPU that reports, at its first panic. */
static void panic_enter(const char *fmt, va_list ap)
{
	u32 me = cpu_id() + 1, owner = 0;

	irq_disable();
	if (!atomic_cas(&panic_cpu, &owner, me) && owner != me) {
		for (;;)
			cpu_stop();
	}
	if (panic_depth++ == 0) {
		ipi_nmi_others();
		klog_panic_begin();
		return;
	}
	if (panic_depth == 2) {
		char message[160];

		kvsnprintf(message, sizeof(message), fmt, ap);
		klog(KLOG_ERR, "panic within the panic: %s\n", message);
		panic_end();
	}
	machine_end(MACHINE_PANIC);
}

static void panic_head(const char *fmt, va_list ap)
{
	char text[300];

	kvsnprintf(text, sizeof(text), fmt, ap);
	klog(KLOG_ERR, "panic: %s\n", text);
	text[0] = 0;
	if (panic_describe_thread)
		panic_describe_thread(text, sizeof(text));
	klog(KLOG_ERR, "on CPU %u%s%s\n", cpu_id(), text[0] ? ", " : "", text);
}

void panic(const char *fmt, ...)
{
	va_list ap, again;

	va_start(ap, fmt);
	va_copy(again, ap);
	panic_enter(fmt, again);
	panic_head(fmt, ap);
	va_end(again);
	va_end(ap);
	backtrace_log(0, (u64)__builtin_frame_address(0));
	panic_end();
}

void panic_regs(const struct regs *r, const char *fmt, ...)
{
	char where[80];
	va_list ap, again;

	va_start(ap, fmt);
	va_copy(again, ap);
	panic_enter(fmt, again);
	panic_head(fmt, ap);
	va_end(again);
	va_end(ap);
	klog(KLOG_ERR, "at %s\n", symbol_format(where, sizeof(where), regs_pc(r)));
	regs_dump(r, panic_print);
	if (!regs_from_user(r)) {
		code_log(regs_pc(r));
		caller_log(r);
		backtrace_log(regs_pc(r), regs_frame_pointer(r));
	}
	panic_end();
}
