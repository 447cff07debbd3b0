/*
 * Calls of what is seldom needed, from paths that are short and everywhere (the end of a critical section,
 * the wait for a lock): to the compiler they change no register, so that the path around them saves
 * none for their sake. The function's own file has DEFINE_KEEPING(fn): the few instructions that save
 * and restore what a function may change.
 *
 * The stack pointer among the operands has the caller's frame set up before the call, for backtraces.
 */
#pragma once

#define DEFINE_KEEPING(fn)                                                                         \
	__asm__(".pushsection .text\n\t"                                                           \
		".globl keeping_" #fn "\n"                                                         \
		"keeping_" #fn ":\n\t"                                                             \
		"pushq %rbp\n\t"                                                                   \
		"movq %rsp, %rbp\n\t"                                                              \
		"pushq %rax\n\t"                                                                   \
		"pushq %rcx\n\t"                                                                   \
		"pushq %rdx\n\t"                                                                   \
		"pushq %rsi\n\t"                                                                   \
		"pushq %rdi\n\t"                                                                   \
		"pushq %r8\n\t"                                                                    \
		"pushq %r9\n\t"                                                                    \
		"pushq %r10\n\t"                                                                   \
		"pushq %r11\n\t"                                                                   \
		"call " #fn "\n\t"                                                                 \
		"popq %r11\n\t"                                                                    \
		"popq %r10\n\t"                                                                    \
		"popq %r9\n\t"                                                                     \
		"popq %r8\n\t"                                                                     \
		"popq %rdi\n\t"                                                                    \
		"popq %rsi\n\t"                                                                    \
		"popq %rdx\n\t"                                                                    \
		"popq %rcx\n\t"                                                                    \
		"popq %rax\n\t"                                                                    \
		"popq %rbp\n\t"                                                                    \
		"ret\n\t"                                                                          \
		".popsection")

register unsigned long stack_pointer __asm__("rsp");

/* fn(), fn(a, b): without a result. */
#define call_keeping(fn)                                                                           \
	__asm__ volatile("call keeping_" #fn : "+r"(stack_pointer) : : "memory", "cc")
#define call_keeping2(fn, a, b)                                                                    \
	__asm__ volatile("call keeping_" #fn                                                       \
			 : "+r"(stack_pointer)                                                     \
			 : "D"(a), "S"(b)                                                          \
			 : "memory", "cc")
