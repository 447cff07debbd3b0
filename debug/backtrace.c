/*
 * Backtraces by the chain of frame pointers, which the compiler keeps for us
 * (-fno-omit-frame-pointer): [fp] is the caller's fp, [fp + 8] the return address.
 *
 * The chain may be broken when we need it most, so nothing in it is believed: a frame must be
 * aligned, lie in the kernel's half and be readable by debug_readable; the chain must go upwards by
 * less than a stack's size a step, which also ends it. One step may lead anywhere else, because a
 * fault on a stack of its own (NMI, double fault) continues on the interrupted stack.
 */
#include "debug/backtrace.h"

#include "arch/api/ctx.h"
#include "debug/panic.h"
#include "lib/fmt.h"
#include "lib/klog.h"
#include "lib/string.h"
#include "machine/memlayout.h"

#define BACKTRACE_MAX 32

/* Made by tools/gen-symbols.awk; offsets from KERNEL_BASE, ascending. */
extern const u32 ksyms_count;
extern const u32 ksyms_offset[];
extern const u32 ksyms_name_at[];
extern const char ksyms_names[];
extern const char __text_start[], __text_end[];

/* The index of the last symbol at or before addr; false: addr is not in the kernel's code. */
static bool symbol_index(u64 addr, u32 *index)
{
	u32 low = 0, high = ksyms_count, offset;

	if (addr < (u64)__text_start || addr >= (u64)__text_end || high == 0)
		return false;
	offset = (u32)(addr - KERNEL_BASE);
	if (offset < ksyms_offset[0])
		return false;
	while (high - low > 1) {
		u32 mid = low + (high - low) / 2;

		if (ksyms_offset[mid] <= offset)
			low = mid;
		else
			high = mid;
	}
	*index = low;
	return true;
}

const char *symbol_lookup(u64 addr, u64 *offset, u64 *size)
{
	u32 i, next;

	if (!symbol_index(addr, &i))
		return NULL;
	*offset = addr - KERNEL_BASE - ksyms_offset[i];
	for (next = i + 1; next < ksyms_count && ksyms_offset[next] == ksyms_offset[i]; next++)
		;
	*size = next < ksyms_count ? ksyms_offset[next] - ksyms_offset[i] : 0;
	return ksyms_names + ksyms_name_at[i];
}

u64 symbol_address(const char *name)
{
	for (u32 i = 0; i < ksyms_count; i++) {
		if (strcmp(ksyms_names + ksyms_name_at[i], name) == 0)
			return KERNEL_BASE + ksyms_offset[i];
	}
	return 0;
}

char *symbol_format(char *buf, size_t n, u64 addr)
{
	u64 offset, size;
	const char *name = symbol_lookup(addr, &offset, &size);

	if (name)
		ksnprintf(buf, n, "%s+%#lx/%#lx", name, offset, size);
	else
		ksnprintf(buf, n, "%#lx", addr);
	return buf;
}

/* Without a hook only the stack that we stand on is known to be there. */
static bool frame_readable(u64 fp)
{
	u64 here = (u64)__builtin_frame_address(0);

	if (fp < KERNEL_SPACE || fp > UINT64_MAX - 16 || !IS_ALIGNED(fp, sizeof(u64)))
		return false;
	if (debug_readable)
		return debug_readable(fp) && debug_readable(fp + 15);
	return fp >= here && fp - here < KSTACK_SIZE;
}

unsigned backtrace_collect(u64 fp, u64 *pcs, unsigned max)
{
	bool jumped = false;
	unsigned n = 0;

	while (n < max && frame_readable(fp)) {
		u64 next = READ_ONCE(((const u64 *)fp)[0]);
		u64 pc = READ_ONCE(((const u64 *)fp)[1]);

		if (pc < KERNEL_SPACE)
			break;
		pcs[n++] = pc;
		if (next <= fp || next - fp >= KSTACK_SIZE) {
			if (jumped)
				break;
			jumped = true;
		}
		fp = next;
	}
	return n;
}

static void frame_log(u64 pc, u64 lookup)
{
	char name[80];
	u64 offset, size;
	const char *symbol = symbol_lookup(lookup, &offset, &size);

	if (symbol)
		ksnprintf(name, sizeof(name), "%s+%#lx/%#lx", symbol, offset + (pc - lookup), size);
	else
		ksnprintf(name, sizeof(name), "?");
	klog(KLOG_ERR, "  %016lx %s\n", pc, name);
}

void backtrace_log(u64 pc, u64 fp)
{
	u64 pcs[BACKTRACE_MAX];
	unsigned n = backtrace_collect(fp, pcs, BACKTRACE_MAX);

	klog(KLOG_ERR, "backtrace:\n");
	backtrace_log_list(pc, pcs, n);
	if (n == BACKTRACE_MAX)
		klog(KLOG_ERR, "  ...\n");
}

void backtrace_log_list(u64 pc, const u64 *pcs, unsigned n)
{
	if (pc)
		frame_log(pc, pc);
	/*
	 * A return address may lie behind the last instruction of a function that does not
	 * return.
	 */
	for (unsigned i = 0; i < n; i++)
		frame_log(pcs[i], pcs[i] - 1);
}
