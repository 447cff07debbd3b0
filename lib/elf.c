/*
 * ELF64 checks (System V ABI, chapters 4 and 5). Every sum is checked for overflow before it is
 * compared; a segment that lies outside the file, reaches beyond user space, is larger in the file
 * than in memory, is not congruent with its offset, or overlaps its predecessor makes the file no
 * executable.
 */
#include "lib/elf.h"

#include "lib/err.h"
#include "lib/string.h"

static int refuse(const char **why, const char *text)
{
	*why = text;
	return -ENOEXEC;
}

int elf_check_header(const struct elf64_ehdr *h, u64 file_size, const char **why)
{
	u64 end;

	if (file_size < 4 || memcmp(h->ident, ELF_MAGIC, 4))
		return refuse(why, "not an ELF program");
	if (file_size < sizeof(*h))
		return refuse(why, "truncated ELF header");
	if (h->ident[EI_CLASS] != ELF_CLASS_64)
		return refuse(why, "a 32-bit ELF program; only x86-64 programs run");
	if (h->ident[EI_DATA] != ELF_DATA_LSB || h->machine != EM_X86_64)
		return refuse(why,
			      "an ELF program for another processor; only x86-64 programs run");
	if (h->type != ET_EXEC && h->type != ET_DYN)
		return refuse(why, "an ELF file, but not a program");
	if (h->phentsize != sizeof(struct elf64_phdr))
		return refuse(why, "ELF program headers of an unknown size");
	if (h->phnum == 0 || h->phnum > ELF_MAX_PHDRS)
		return refuse(why, "no or too many ELF program headers");
	if (__builtin_add_overflow(h->phoff, h->phnum * sizeof(struct elf64_phdr), &end) ||
	    end > file_size)
		return refuse(why, "truncated ELF file (program headers missing)");
	return 0;
}

static int add_segment(struct elf_plan *plan, const struct elf64_phdr *p, u64 file_size,
		       u64 user_top, const char **why)
{
	struct elf_segment *s = &plan->segment[plan->nr_segments];
	u64 end, file_end;

	if (p->memsz == 0 && p->filesz == 0)
		return 0;
	if (p->filesz > p->memsz)
		return refuse(why, "an ELF segment larger in the file than in memory");
	if (__builtin_add_overflow(p->offset, p->filesz, &file_end) || file_end > file_size)
		return refuse(why, "truncated ELF file (segment missing)");
	if (__builtin_add_overflow(p->vaddr, p->memsz, &end) || end > user_top)
		return refuse(why, "an ELF segment outside of user space");
	if ((p->vaddr ^ p->offset) & (PAGE_SIZE - 1))
		return refuse(why, "a misaligned ELF segment");
	if (p->align > 1 && !IS_POWER_OF_2(p->align))
		return refuse(why, "an ELF segment with an odd alignment");
	if (plan->nr_segments && p->vaddr < s[-1].vaddr + s[-1].memsz)
		return refuse(why, "overlapping or unsorted ELF segments");
	*s = (struct elf_segment){ p->vaddr, p->memsz, p->filesz, p->offset, p->flags };
	if (plan->nr_segments == 0)
		plan->low = ALIGN_DOWN(p->vaddr, PAGE_SIZE);
	plan->high = ALIGN_UP(end, PAGE_SIZE);
	if (p->align > plan->align)
		plan->align = p->align;
	plan->nr_segments++;
	return 0;
}

static int note_interp(struct elf_plan *plan, const struct elf64_phdr *p, u64 file_size,
		       const char **why)
{
	u64 end;

	if (plan->interp_size)
		return refuse(why, "two ELF interpreters");
	if (p->filesz < 2 || p->filesz > ELF_INTERP_MAX)
		return refuse(why, "an ELF interpreter with an impossible name");
	if (__builtin_add_overflow(p->offset, p->filesz, &end) || end > file_size)
		return refuse(why, "truncated ELF file (interpreter missing)");
	plan->interp_offset = p->offset;
	plan->interp_size = p->filesz;
	return 0;
}

/* AT_PHDR: the headers' place in memory, if a segment carries them. */
static void find_phdr(struct elf_plan *plan, const struct elf64_ehdr *h)
{
	u64 size = h->phnum * sizeof(struct elf64_phdr);

	for (u32 i = 0; i < plan->nr_segments; i++) {
		const struct elf_segment *s = &plan->segment[i];

		if (h->phoff >= s->offset && s->filesz >= size &&
		    h->phoff - s->offset <= s->filesz - size) {
			plan->phdr = s->vaddr + (h->phoff - s->offset);
			return;
		}
	}
}

int elf_make_plan(const struct elf64_ehdr *h, const struct elf64_phdr *phdrs, u64 file_size,
		  u64 user_top, struct elf_plan *plan, const char **why)
{
	int err = 0;

	memset(plan, 0, sizeof(*plan));
	plan->align = PAGE_SIZE;
	plan->entry = h->entry;
	plan->dynamic_base = h->type == ET_DYN;
	for (u32 i = 0; i < h->phnum && !err; i++) {
		const struct elf64_phdr *p = &phdrs[i];

		if (p->type == PT_LOAD)
			err = add_segment(plan, p, file_size, user_top, why);
		else if (p->type == PT_INTERP)
			err = note_interp(plan, p, file_size, why);
		else if (p->type == PT_GNU_STACK)
			plan->exec_stack = p->flags & PF_X;
	}
	if (err)
		return err;
	if (!plan->nr_segments)
		return refuse(why, "an ELF program without a segment to load");
	if (plan->align > GiB)
		return refuse(why, "an ELF segment with an absurd alignment");
	if (h->entry >= user_top)
		return refuse(why, "an ELF entry point outside of user space");
	find_phdr(plan, h);
	return 0;
}
