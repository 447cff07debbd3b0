/*
 * Maps an ELF program, and its interpreter if it names one, into a new address space. lib/elf.c has
 * checked the numbers; nothing here is undone on an error: the caller drops the whole space.
 *
 * A program that may lie anywhere lies at PIE_BASE, its interpreter where there is room. The stack
 * is mapped first, so that nothing else takes its place.
 */
#include "proc/internal.h"

#include "arch/api/hook.h"
#include "arch/api/uaccess.h"
#include "fs/file.h"
#include "lib/elf.h"
#include "lib/err.h"
#include "lib/klog.h"
#include "lib/uapi/mman.h"
#include "lib/uapi/stat.h"
#include "mm/aspace.h"
#include "mm/slab.h"

#define PIE_BASE 0x555555554000ul
/* At least 8 MiB, from a 2 MiB boundary: so its lower part costs no page tables. */
#define STACK_BOTTOM ALIGN_DOWN(USER_TOP - 8 * MiB, 2 * MiB) /* no segment above */
#define STACK_START  (132 * KiB) /* what it has at first: it grows, up to RLIMIT_STACK */

/* A file on its way to be mapped. */
struct loading {
	struct file *file;
	struct elf64_ehdr ehdr;
	struct elf_plan plan;
	struct elf64_phdr phdr[ELF_MAX_PHDRS];
};

static int prot_of(u32 flags)
{
	return (flags & PF_R ? PROT_READ : 0) | (flags & PF_W ? PROT_WRITE : 0) |
	       (flags & PF_X ? PROT_EXEC : 0);
}

static int read_headers(struct loading *l, struct exec_image *im)
{
	struct linux_stat st;
	int err = file_stat(l->file, &st);

	if (err)
		return err;
	if (st.size < (s64)sizeof(l->ehdr)) {
		struct elf64_ehdr none = { 0 };

		err = file_read_exact(l->file, &none, (size_t)st.size, 0);
		return err ? err : elf_check_header(&none, (u64)st.size, &im->why);
	}
	err = file_read_exact(l->file, &l->ehdr, sizeof(l->ehdr), 0);
	if (!err)
		err = elf_check_header(&l->ehdr, (u64)st.size, &im->why);
	if (!err)
		err = file_read_exact(l->file, l->phdr, l->ehdr.phnum * sizeof(l->phdr[0]),
				      l->ehdr.phoff);
	if (!err)
		err = elf_make_plan(&l->ehdr, l->phdr, (u64)st.size, STACK_BOTTOM, &l->plan,
				    &im->why);
	return err;
}

/* The part of the last file page behind the segment's data is zero. */
static int clear_tail(struct aspace *as, uaddr_t from, uaddr_t to)
{
	static const u8 zeros[PAGE_SIZE];

	if (from == to)
		return 0;
	return aspace_write_own(as, from, zeros, to - from) == (ssize_t)(to - from) ? 0 : -ENOMEM;
}

static int map_segment(struct loading *l, struct aspace *as, u64 bias, const struct elf_segment *s)
{
	uaddr_t start = ALIGN_DOWN(bias + s->vaddr, PAGE_SIZE);
	uaddr_t data_end = bias + s->vaddr + s->filesz;
	uaddr_t file_end = s->filesz ? ALIGN_UP(data_end, PAGE_SIZE) : start;
	uaddr_t mem_end = ALIGN_UP(bias + s->vaddr + s->memsz, PAGE_SIZE);
	struct vm_object *obj = file_vm_object(l->file);
	int prot = prot_of(s->flags), err = 0;
	s64 at;

	if (!obj)
		return -ENOEXEC;
	if (file_end > start) {
		at = vm_mmap(as, start, file_end - start, prot, MAP_PRIVATE | MAP_FIXED, obj,
			     ALIGN_DOWN(s->offset, PAGE_SIZE));
		if (at < 0)
			return (int)at;
		if (hook_on(HOOK_TRACE) && (prot & PROT_EXEC))
			proc_trace_map(l->file, start, file_end, ALIGN_DOWN(s->offset, PAGE_SIZE));
		if (s->memsz > s->filesz && (s->flags & PF_W))
			err = clear_tail(as, data_end, file_end);
	}
	if (!err && mem_end > file_end) {
		at = vm_mmap(as, file_end, mem_end - file_end, prot,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, NULL, 0);
		err = at < 0 ? (int)at : 0;
	}
	return err;
}

static int map_all(struct loading *l, struct aspace *as, u64 bias)
{
	int err = 0;

	for (u32 i = 0; i < l->plan.nr_segments && !err; i++)
		err = map_segment(l, as, bias, &l->plan.segment[i]);
	return err;
}

static int map_stack(struct exec_image *im, bool exec)
{
	int prot = PROT_READ | PROT_WRITE | (exec ? PROT_EXEC : 0);
	s64 at = vm_mmap(im->as, USER_TOP - STACK_START, STACK_START, prot,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, NULL, 0);

	im->stack_top = USER_TOP;
	return at < 0 ? (int)at : 0;
}

/* Where the interpreter goes: a free range of its size, which its segments then replace. */
static int place_interp(struct exec_image *im, const struct elf_plan *plan, u64 *bias)
{
	s64 at;

	if (!plan->dynamic_base) {
		*bias = 0;
		return 0;
	}
	at = vm_mmap(im->as, 0, plan->high - plan->low, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, NULL, 0);
	if (at < 0)
		return (int)at;
	*bias = (u64)at - plan->low;
	return 0;
}

static int load_interp(struct exec_image *im, const char *path)
{
	struct loading *l = kzalloc(sizeof(*l));
	u64 bias = 0;
	int err;

	if (!l)
		return -ENOMEM;
	err = vfs_open_exec(path, &l->file);
	if (err) {
		log_info("dynamic program: needs interpreter %s\n", path);
		im->why =
			"a dynamic program whose interpreter (ld.so) is missing; link it with -static";
		goto out;
	}
	err = read_headers(l, im);
	if (!err && l->plan.interp_size)
		err = -ELIBBAD;
	if (!err)
		err = place_interp(im, &l->plan, &bias);
	if (!err)
		err = map_all(l, im->as, bias);
	if (!err) {
		im->entry = bias + l->plan.entry;
		im->interp_base = bias;
	}
	file_put(l->file);
out:
	kfree(l);
	return err;
}

static int find_interp(struct loading *l, struct exec_image *im)
{
	u64 size = l->plan.interp_size;
	char *path;
	int err;

	if (!size)
		return 0;
	path = kmalloc(size);
	if (!path)
		return -ENOMEM;
	err = file_read_exact(l->file, path, size, l->plan.interp_offset);
	if (!err && path[size - 1] != '\0') {
		im->why = "an ELF interpreter with an impossible name";
		err = -ENOEXEC;
	}
	if (!err)
		err = load_interp(im, path);
	kfree(path);
	return err;
}

static int load_program(struct loading *l, struct exec_image *im)
{
	u64 bias = 0;
	int err = read_headers(l, im);

	if (!err)
		err = map_stack(im, l->plan.exec_stack);
	if (err)
		return err;
	if (l->plan.dynamic_base)
		bias = ALIGN_UP(PIE_BASE, l->plan.align) - l->plan.low;
	err = map_all(l, im->as, bias);
	if (err)
		return err;
	im->program_entry = bias + l->plan.entry;
	im->entry = im->program_entry;
	im->phdr = l->plan.phdr ? bias + l->plan.phdr : 0;
	im->phnum = l->ehdr.phnum;
	im->brk = bias + l->plan.high;
	aspace_set_brk(im->as, im->brk);
	return find_interp(l, im);
}

int load_elf(struct file *f, struct exec_image *im)
{
	struct loading *l = kzalloc(sizeof(*l));
	int err;

	if (!l)
		return -ENOMEM;
	l->file = f;
	err = load_program(l, im);
	kfree(l);
	return err;
}
