/* lib/elf.c: whatever the file says, a plan that is accepted keeps its promises. See ./jiffy fuzz. */
#include <stdlib.h>
#include <string.h>

#include "lib/elf.h"
#include "lib/kassert.h"

#define TOP 0x00007ffffffff000ul

static void check_plan(const struct elf_plan *p, u64 size)
{
	kassert(p->nr_segments > 0 && p->nr_segments <= ELF_MAX_PHDRS);
	kassert(p->low < p->high && IS_ALIGNED(p->low | p->high, PAGE_SIZE) && p->high <= TOP);
	kassert(p->align >= PAGE_SIZE && !(p->align & (p->align - 1)));
	kassert(p->interp_size == 0 ||
		(p->interp_size <= ELF_INTERP_MAX && p->interp_offset <= size &&
		 p->interp_size <= size - p->interp_offset));
	for (u32 i = 0; i < p->nr_segments; i++) {
		const struct elf_segment *s = &p->segment[i];

		kassert(s->filesz <= s->memsz && s->vaddr >= p->low && s->memsz <= p->high &&
			s->vaddr <= p->high - s->memsz);
		kassert(s->offset <= size && s->filesz <= size - s->offset);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct elf64_phdr phdrs[ELF_MAX_PHDRS];
	static struct elf_plan plan;
	struct elf64_ehdr h;
	const char *why = NULL;

	if (size < sizeof(h))
		return -1;
	memcpy(&h, data, sizeof(h));
	if (elf_check_header(&h, size, &why)) {
		kassert(why);
		return 0;
	}
	kassert(h.phnum <= ELF_MAX_PHDRS && h.phoff <= size &&
		h.phnum * sizeof(phdrs[0]) <= size - h.phoff);
	memcpy(phdrs, data + h.phoff, h.phnum * sizeof(phdrs[0]));
	if (!elf_make_plan(&h, phdrs, size, TOP, &plan, &why))
		check_plan(&plan, size);
	else
		kassert(why);
	return 0;
}
