/*
 * Reading ELF64 executables for x86-64: pure functions on the headers' bytes, so that host tests can
 * feed them anything. A program that passes can be mapped without further checks of its numbers.
 */
#pragma once

#include "lib/types.h"
#include "lib/uapi/elf.h"

#define ELF_MAX_PHDRS  73 /* what fits a page, as on Linux */
#define ELF_INTERP_MAX 4096

struct elf_segment {
	u64 vaddr, memsz, filesz, offset;
	u32 flags; /* PF_* */
};

struct elf_plan {
	u64 low, high; /* page-aligned range of all segments, before the bias */
	u64 entry;     /* before the bias */
	u64 phdr;      /* where the program headers lie in memory; 0: in no segment */
	u64 align;     /* the largest alignment asked for, at least a page */
	u64 interp_offset, interp_size; /* PT_INTERP with its terminator; size 0: none */
	bool dynamic_base;              /* ET_DYN: may lie anywhere */
	bool exec_stack;
	u32 nr_segments;
	struct elf_segment segment[ELF_MAX_PHDRS];
};

/*
 * 0 or -ENOEXEC, with a word of explanation in *why. file_size: in bytes. After it, phnum and phoff
 * are good for reading phnum headers of sizeof(struct elf64_phdr) bytes from the file.
 */
int elf_check_header(const struct elf64_ehdr *h, u64 file_size, const char **why);

/* user_top: the first address that no segment may reach. */
int elf_make_plan(const struct elf64_ehdr *h, const struct elf64_phdr *phdrs, u64 file_size,
		  u64 user_top, struct elf_plan *plan, const char **why);
