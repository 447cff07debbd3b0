/* ELF64 (System V ABI, "Object Files"; AMD64 supplement). */
#pragma once

#include "lib/types.h"

#define ELF_MAGIC    "\177ELF"
#define ELF_CLASS_64 2
#define ELF_DATA_LSB 1
#define EI_CLASS     4
#define EI_DATA      5
#define EI_VERSION   6
#define ET_EXEC      2
#define ET_DYN       3
#define EM_X86_64    62

#define PT_NULL      0
#define PT_LOAD      1
#define PT_DYNAMIC   2
#define PT_INTERP    3
#define PT_PHDR      6
#define PT_TLS       7
#define PT_GNU_STACK 0x6474e551

#define PF_X 1u
#define PF_W 2u
#define PF_R 4u

struct elf64_ehdr {
	u8 ident[16];
	u16 type, machine;
	u32 version;
	u64 entry, phoff, shoff;
	u32 flags;
	u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
_Static_assert(sizeof(struct elf64_ehdr) == 64, "Elf64_Ehdr");

struct elf64_phdr {
	u32 type, flags;
	u64 offset, vaddr, paddr, filesz, memsz, align;
};
_Static_assert(sizeof(struct elf64_phdr) == 56, "Elf64_Phdr");
