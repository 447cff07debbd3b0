/* Copies to and from a program's memory, whose range has been looked at: what arch/api/uaccess.h ends in. */
#pragma once

#include "machine/call.h"

/* user_copy.S changes the registers of a string move and rax, and no others. */
static inline size_t user_copy(void *dst, const void *src, size_t n)
{
	size_t left;

	__asm__ volatile("call user_copy"
			 : "=a"(left), "+D"(dst), "+S"(src), "+d"(n), "+r"(stack_pointer)
			 :
			 : "rcx", "memory", "cc");
	return left;
}

static inline size_t user_get_bytes(void *dst, uaddr_t src, size_t n)
{
	return user_copy(dst, (const void *)src, n);
}

static inline size_t user_put_bytes(uaddr_t dst, const void *src, size_t n)
{
	return user_copy((void *)dst, src, n);
}
