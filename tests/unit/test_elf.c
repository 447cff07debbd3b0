/*
 * lib/elf.c: a good header passes; every field is broken in turn; then random bytes and random
 * damage, where the only demands are no crash (ASan, UBSan), and that an accepted plan keeps its
 * promises.
 */
#include "lib/elf.h"

#include "lib/err.h"

#include <string.h>

#include "unit.h"

#define USER_TOP  0x00007ffffffff000ul
#define FILE_SIZE 0x5000ul
#define PHDRS     4

struct program {
	struct elf64_ehdr h;
	struct elf64_phdr p[PHDRS];
};

static struct program good(void)
{
	struct program g = {
		.h = {
			.ident = { 0x7f, 'E', 'L', 'F', 2, 1, 1 },
			.type = ET_EXEC, .machine = EM_X86_64, .version = 1,
			.entry = 0x401000, .phoff = 64, .ehsize = 64,
			.phentsize = sizeof(struct elf64_phdr), .phnum = PHDRS,
		},
		.p = {
			{ PT_LOAD, PF_R, 0, 0x400000, 0, 0x400, 0x400, 0x1000 },
			{ PT_LOAD, PF_R | PF_X, 0x1000, 0x401000, 0, 0x2000, 0x2000, 0x1000 },
			{ PT_LOAD, PF_R | PF_W, 0x3e00, 0x404e00, 0, 0x200, 0x4000, 0x1000 },
			{ PT_GNU_STACK, PF_R | PF_W, 0, 0, 0, 0, 0, 16 },
		},
	};

	return g;
}

static int check(const struct program *g, u64 size, struct elf_plan *plan)
{
	const char *why = NULL;
	int err = elf_check_header(&g->h, size, &why);

	if (!err)
		err = elf_make_plan(&g->h, g->p, size, USER_TOP, plan, &why);
	assert_true(err == 0 || (err == -ENOEXEC && why));
	return err;
}

static void test_good(void **state)
{
	struct program g = good();
	struct elf_plan plan;

	assert_int_equal(check(&g, FILE_SIZE, &plan), 0);
	assert_int_equal(plan.nr_segments, 3);
	assert_int_equal(plan.low, 0x400000);
	assert_int_equal(plan.high, 0x409000);
	assert_int_equal(plan.phdr, 0x400040);
	assert_int_equal(plan.entry, 0x401000);
	assert_false(plan.exec_stack);
	assert_false(plan.dynamic_base);
}

static void test_interp(void **state)
{
	struct program g = good();
	struct elf_plan plan;

	g.p[3] = (struct elf64_phdr){ PT_INTERP, PF_R, 0x200, 0x400200, 0, 28, 28, 1 };
	assert_int_equal(check(&g, FILE_SIZE, &plan), 0);
	assert_int_equal(plan.interp_offset, 0x200);
	assert_int_equal(plan.interp_size, 28);
	g.p[3].offset = FILE_SIZE - 10;
	assert_int_equal(check(&g, FILE_SIZE, &plan), -ENOEXEC);
	g.p[3].offset = UINT64_MAX - 5;
	assert_int_equal(check(&g, FILE_SIZE, &plan), -ENOEXEC);
}

/* One member changed to a bad value: refused. */
#define REFUSED(member, value)                                                                     \
	do {                                                                                       \
		struct program g_ = good();                                                        \
		struct elf_plan plan_;                                                             \
		g_.member = (value);                                                               \
		if (check(&g_, FILE_SIZE, &plan_) != -ENOEXEC)                                     \
			fail_msg("%s = %s was accepted", #member, #value);                         \
	} while (0)

static void test_header_fields(void **state)
{
	REFUSED(h.ident[0], 0);
	REFUSED(h.ident[3], 'f');
	REFUSED(h.ident[EI_CLASS], 1);
	REFUSED(h.ident[EI_DATA], 2);
	REFUSED(h.machine, 3);
	REFUSED(h.type, 1);
	REFUSED(h.type, 4);
	REFUSED(h.phentsize, 32);
	REFUSED(h.phnum, 0);
	REFUSED(h.phnum, ELF_MAX_PHDRS + 1);
	REFUSED(h.phnum, 0xffff);
	REFUSED(h.phoff, FILE_SIZE);
	REFUSED(h.phoff, UINT64_MAX - 8);
	REFUSED(h.entry, USER_TOP);
	REFUSED(h.entry, UINT64_MAX);
}

static void test_segment_fields(void **state)
{
	REFUSED(p[1].filesz, 0x2001); /* memsz < filesz */
	REFUSED(p[1].memsz, 0x1fff);
	REFUSED(p[1].offset, 0x4000);             /* beyond the file */
	REFUSED(p[1].offset, UINT64_MAX - 0xfff); /* overflow */
	REFUSED(p[1].offset, 0x1001);             /* not congruent */
	REFUSED(p[1].vaddr, 0x401010);
	REFUSED(p[1].vaddr, 0x400000); /* overlap */
	REFUSED(p[1].vaddr, 0x3ff000); /* unsorted */
	REFUSED(p[1].vaddr, USER_TOP - 0x1000);
	REFUSED(p[1].vaddr, 0xffff800000000000ul);
	REFUSED(p[2].memsz, UINT64_MAX);
	REFUSED(p[2].memsz, USER_TOP);
	REFUSED(p[1].align, 0x3000);
	REFUSED(p[1].align, TiB);
}

static void test_truncated(void **state)
{
	struct program g = good();
	struct elf_plan plan;

	for (u64 size = 0; size < FILE_SIZE; size++) {
		bool complete = size >= 0x4000; /* the last segment's end in the file */

		assert_int_equal(check(&g, size, &plan), complete ? 0 : -ENOEXEC);
	}
}

static void test_no_segments(void **state)
{
	struct program g = good();
	struct elf_plan plan;

	for (int i = 0; i < PHDRS; i++)
		g.p[i].type = PT_NULL;
	assert_int_equal(check(&g, FILE_SIZE, &plan), -ENOEXEC);
}

/* What load_elf relies on. */
static void check_promises(const struct elf_plan *plan, u64 size)
{
	u64 last = 0;

	assert_true(plan->nr_segments > 0);
	assert_true(plan->low % PAGE_SIZE == 0 && plan->high % PAGE_SIZE == 0);
	assert_true(plan->low < plan->high && plan->high <= USER_TOP);
	assert_true(IS_POWER_OF_2(plan->align) && plan->align >= PAGE_SIZE && plan->align <= GiB);
	for (u32 i = 0; i < plan->nr_segments; i++) {
		const struct elf_segment *s = &plan->segment[i];

		assert_true(s->filesz <= s->memsz);
		assert_true(s->offset <= size && s->filesz <= size - s->offset);
		assert_true(s->vaddr >= last && s->memsz <= USER_TOP - s->vaddr);
		assert_true((s->vaddr - s->offset) % PAGE_SIZE == 0);
		last = s->vaddr + s->memsz;
	}
}

static void test_fuzz(void **state)
{
	static const u64 interesting[] = { 0,         1,          0xfff,
					   0x1000,    FILE_SIZE,  USER_TOP,
					   1ul << 63, UINT64_MAX, UINT64_MAX - 0xfff,
					   0x400000,  64 };
	u64 seed = unit_seed(), accepted = 0;

	for (int round = 0; round < 300000; round++) {
		struct program g = good();
		struct elf_plan plan;
		u64 n = 1 + unit_next(&seed) % 6;

		while (n--) {
			u64 word = unit_next(&seed) % (sizeof(g) / 8);
			u64 value = unit_next(&seed);

			switch (value % 3) {
			case 0: value = interesting[(value >> 8) % ARRAY_SIZE(interesting)]; break;
			case 1:
				memcpy(&value, (char *)&g + word * 8, 8);
				value ^= 1ul << unit_next(&seed) % 64;
				break;
			default: break;
			}
			memcpy((char *)&g + word * 8, &value, 8);
		}
		if (g.h.phnum > PHDRS)
			g.h.phnum = PHDRS;
		if (check(&g, FILE_SIZE, &plan) == 0) {
			check_promises(&plan, FILE_SIZE);
			accepted++;
		}
	}
	assert_true(accepted > 1000); /* the damage is not always deadly, or this tests nothing */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),          cmocka_unit_test(test_interp),
		cmocka_unit_test(test_header_fields), cmocka_unit_test(test_segment_fields),
		cmocka_unit_test(test_truncated),     cmocka_unit_test(test_no_segments),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
