/*
 * FPU state. One image in the standard (not compacted) XSAVE format a user thread; XSAVEOPT where
 * the CPU has it, FXSAVE where there is no XSAVE at all. Enabled components: x87, SSE, AVX and the
 * three of AVX-512. Protection keys and AMX stay off.
 *
 * Eager: the registers always hold the state of the CPU's owner thread (machine/ctx.h), never
 * somebody else's with a trap in wait (CR0.TS): nothing to leak by speculation.
 *
 * The standard format is also what a signal frame holds, with the software-reserved bytes that
 * Linux puts at offset 464 to tell that there is more than FXSAVE's 512 bytes.
 */
#include "arch/x86/fpu.h"

#include "arch/api/ctx.h"
#include "arch/api/preempt.h"
#include "arch/api/uaccess.h"
#include "arch/x86/cpuid.h"
#include "lib/kassert.h"
#include "lib/string.h"
#include "mm/slab.h"

#define CR0_MP       (1ul << 1)
#define CR0_EM       (1ul << 2)
#define CR0_TS       (1ul << 3)
#define CR0_NE       (1ul << 5)
#define CR4_OSFXSR   (1ul << 9)
#define CR4_OSXMMEX  (1ul << 10)
#define CR4_OSXSAVE  (1ul << 18)
#define CR4_FSGSBASE (1ul << 16)

#define XFEATURES_WANTED 0xe7ull /* x87, SSE, AVX, opmask, ZMM_Hi256, Hi16_ZMM */
#define FXSAVE_SIZE      512
#define XSAVE_HEADER     64
#define MXCSR_DEFAULT    0x1f80
#define FCW_DEFAULT      0x37f

#define FP_XSTATE_MAGIC1 0x46505853u
#define FP_XSTATE_MAGIC2 0x46505845u
#define SW_RESERVED      464

struct fpu_area {
	u16 fcw, fsw;
	u8 ftw, reserved;
	u16 fop;
	u64 fip, fdp;
	u32 mxcsr, mxcsr_mask;
	u8 registers[FXSAVE_SIZE - 32];
	u64 xstate_bv, xcomp_bv;
	u8 header_reserved[XSAVE_HEADER - 16];
} __aligned(64);

struct fpu_sw_bytes {
	u32 magic1, extended_size;
	u64 xfeatures;
	u32 xstate_size;
	u32 padding[7];
};
_Static_assert(sizeof(struct fpu_sw_bytes) == 48, "Linux's struct _fpx_sw_bytes");

static struct slab_cache *fpu_cache;
static struct fpu_area *fpu_initial; /* [I] */
u64 fpu_features;
static size_t fpu_size = FXSAVE_SIZE; /* [I] */
static u32 mxcsr_mask = 0xffbf;       /* [I] */

void fpu_cpu_init(void)
{
	u64 cr0, cr4;

	__asm__ volatile("movq %%cr0, %0" : "=r"(cr0));
	cr0 = (cr0 & ~(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE;
	__asm__ volatile("movq %0, %%cr0" : : "r"(cr0));
	__asm__ volatile("movq %%cr4, %0" : "=r"(cr4));
	cr4 |= CR4_OSFXSR | CR4_OSXMMEX;
	if (cpu_has.xsave)
		cr4 |= CR4_OSXSAVE;
	if (cpu_has.fsgsbase)
		cr4 |= CR4_FSGSBASE;
	__asm__ volatile("movq %0, %%cr4" : : "r"(cr4));
	if (cpu_has.xsave) {
		u32 r[4];

		cpuid(0xd, 0, r);
		fpu_features = r[0] & XFEATURES_WANTED;
		if ((fpu_features & 0xe0) != 0xe0)
			fpu_features &= ~0xe0ull; /* AVX-512 whole or not at all */
		__asm__ volatile("xsetbv" : : "c"(0), "a"((u32)fpu_features), "d"(0));
		cpuid(0xd, 0, r); /* EBX: the size for what XCR0 has now */
		fpu_size = r[1];
	}
	__asm__ volatile("fninit");
}

void fpu_init(void)
{
	fpu_cache = slab_cache_create("fpu", fpu_size, 64);
	fpu_initial = slab_zalloc(fpu_cache);
	if (!fpu_initial)
		panic("fpu: no memory for the initial state");
	__asm__ volatile("fxsave64 %0" : "=m"(*fpu_initial));
	if (fpu_initial->mxcsr_mask)
		mxcsr_mask = fpu_initial->mxcsr_mask;
	memset(fpu_initial, 0, fpu_size);
	fpu_initial->fcw = FCW_DEFAULT;
	fpu_initial->mxcsr = MXCSR_DEFAULT;
}

struct fpu_area *fpu_alloc(void)
{
	struct fpu_area *f = slab_alloc(fpu_cache);

	if (f)
		fpu_reset_area(f);
	return f;
}

void fpu_free(struct fpu_area *f)
{
	slab_free(fpu_cache, f);
}

void fpu_reset_area(struct fpu_area *f)
{
	memcpy(f, fpu_initial, fpu_size);
}

void fpu_copy(struct fpu_area *dst, const struct fpu_area *src)
{
	memcpy(dst, src, fpu_size);
}

void fpu_load_initial(void)
{
	fpu_restore(fpu_initial);
}

size_t fpu_frame_size(void)
{
	return fpu_features ? fpu_size + sizeof(u32) : FXSAVE_SIZE;
}

/* The current thread's registers, in its area (which XSAVEOPT may leave partly stale until now). */
static struct fpu_area *save_current(void)
{
	struct fpu_area *f = this_cpu_read(ctx_user_owner)->fpu;

	fpu_save(f);
	return f;
}

int fpu_save_user(uaddr_t dst)
{
	u32 magic2 = FP_XSTATE_MAGIC2;
	struct fpu_sw_bytes sw = { .magic1 = FP_XSTATE_MAGIC1,
				   .extended_size = (u32)fpu_frame_size(),
				   .xfeatures = fpu_features,
				   .xstate_size = (u32)fpu_size };

	preempt_disable();
	struct fpu_area *f = save_current();
	preempt_enable();
	/* Preemption may save the registers again, to the same place and with the same values. */
	if (copy_to_user(dst, f, fpu_size))
		return -EFAULT;
	if (!fpu_features)
		return 0;
	if (copy_to_user(dst + SW_RESERVED, &sw, sizeof(sw)))
		return -EFAULT;
	return copy_to_user(dst + fpu_size, &magic2, sizeof(magic2));
}

/* Makes an image harmless that a program wrote: what XRSTOR and FXRSTOR refuse with #GP. */
static int check_image(struct fpu_area *f, bool extended)
{
	if (f->mxcsr & ~mxcsr_mask)
		return -EINVAL;
	if (!extended) {
		memset(&f->xstate_bv, 0, fpu_size - FXSAVE_SIZE);
		f->xstate_bv = 3;
		return 0;
	}
	if ((f->xstate_bv & ~fpu_features) || f->xcomp_bv)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(f->header_reserved); i++)
		if (f->header_reserved[i])
			return -EINVAL;
	return 0;
}

int fpu_restore_user(uaddr_t src)
{
	struct fpu_area *mine = this_cpu_read(ctx_user_owner)->fpu;
	struct fpu_area *f = slab_alloc(fpu_cache);
	struct fpu_sw_bytes sw;
	u32 magic2;
	bool extended = false;
	int err = -EFAULT;

	if (!f)
		return -ENOMEM;
	if (copy_from_user(f, src, FXSAVE_SIZE))
		goto out;
	if (fpu_features) {
		memcpy(&sw, (char *)f + SW_RESERVED, sizeof(sw));
		extended = sw.magic1 == FP_XSTATE_MAGIC1 && sw.xstate_size == fpu_size &&
			   !get_user(magic2, src + fpu_size) && magic2 == FP_XSTATE_MAGIC2;
		if (extended && copy_from_user(f, src, fpu_size))
			goto out;
		err = check_image(f, extended);
	} else {
		err = f->mxcsr & ~mxcsr_mask ? -EINVAL : 0;
	}
	if (err)
		goto out;
	preempt_disable();
	fpu_copy(mine, f);
	fpu_restore(mine);
	preempt_enable();
out:
	fpu_free(f);
	return err;
}

int fpu_exception_code(bool simd)
{
	static const int code[] = { 7, 7 /* denormal: underflow's */, 3, 4, 5, 6 };
	u16 fcw, fsw;
	u32 mxcsr, pending;

	if (simd) {
		__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
		pending = mxcsr & ~(mxcsr >> 7);
	} else {
		__asm__ volatile("fnstsw %0" : "=m"(fsw));
		__asm__ volatile("fnstcw %0" : "=m"(fcw));
		pending = fsw & ~(u32)fcw;
	}
	if (pending & 2 && !(pending & 1))
		return 5; /* FPE_FLTUND for a denormal operand, as Linux says */
	for (unsigned bit = 0; bit < 6; bit++)
		if (pending & 1u << bit)
			return code[bit];
	return 0;
}
