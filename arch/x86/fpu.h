/*
 * The FPU state of programs: x87, SSE, AVX, AVX-512, as far as CPU and kernel enabled them. The
 * kernel itself uses none of it.
 */
#pragma once

#include "arch/x86/cpuid.h"
#include "lib/types.h"

struct fpu_area;
struct arch_thread;

void fpu_cpu_init(void); /* this CPU: CR0, CR4, XCR0 */
void fpu_init(void);     /* once, after the slab: sizes and the initial image */

struct fpu_area *fpu_alloc(void); /* in the initial state; NULL: out of memory */
void fpu_free(struct fpu_area *f);
void fpu_copy(struct fpu_area *dst, const struct fpu_area *src);
void fpu_load_initial(void);
void fpu_reset_area(struct fpu_area *f);

extern u64 fpu_features; /* [I] XCR0; 0: FXSAVE only */

/* The CPU's registers to f. */
static inline void fpu_save(struct fpu_area *f)
{
	if (likely(cpu_has.xsaveopt))
		__asm__ volatile("xsaveopt64 (%0)" : : "r"(f), "a"(-1), "d"(-1) : "memory");
	else if (fpu_features)
		__asm__ volatile("xsave64 (%0)" : : "r"(f), "a"(-1), "d"(-1) : "memory");
	else
		__asm__ volatile("fxsave64 (%0)" : : "r"(f) : "memory");
}

/* f to the CPU's registers. */
static inline void fpu_restore(const struct fpu_area *f)
{
	if (likely(fpu_features))
		__asm__ volatile("xrstor64 (%0)" : : "r"(f), "a"(-1), "d"(-1) : "memory");
	else
		__asm__ volatile("fxrstor64 (%0)" : : "r"(f) : "memory");
}

/* Signal frames. The state's size; copies of the current thread's state to and from its memory:
 * 0 or -EFAULT, -EINVAL for an image that the CPU would refuse. Interrupts on; may sleep. */
size_t fpu_frame_size(void);
int fpu_save_user(uaddr_t dst) __must_check;
int fpu_restore_user(uaddr_t src) __must_check;

/* The reason of an x87 or SSE exception as an si_code of SIGFPE. */
int fpu_exception_code(bool simd);
