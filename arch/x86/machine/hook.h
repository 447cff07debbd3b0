/*
 * Places that hook_enable (arch/x86/hook.c) patches. Each is one instruction of at least five bytes,
 * which becomes a jump (0xe9) or a call (0xe8), the rest NOPs; a table lists them.
 */
#pragma once

#define HOOK_SITE(at, length, to, opcode, class)                                                   \
	".pushsection .hook_sites, \"a\"\n\t"                                                      \
	".long " at " - ., " to " - .\n\t"                                                         \
	".byte " opcode ", " length ", " class ", 0\n\t"                                           \
					       ".popsection\n"

/* An instruction, on the labels 771 and 772, that its class, or HOOK_LATENCY, turns into a call. */
#define HOOK_INSN_CLASS(insn, stub, class)                                                         \
	"771:\t" insn "\n772:\n\t" HOOK_SITE("771b", "772b - 771b", stub, "0xe8", class)
#define HOOK_INSN(insn, stub) HOOK_INSN_CLASS(insn, stub, "4")

static __always_inline bool hook_on(const unsigned class)
{
	__asm__ goto("771:\t.byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n\t" /* a NOP of five bytes */
		     HOOK_SITE("771b", "5", "%l[on]", "0xe9", "%c0")
		     :
		     : "i"(class)
		     :
		     : on);
	return false;
on:
	return true;
}
