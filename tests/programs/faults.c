/*
 * What a program must not do, and what becomes of it: signal, si_code and si_addr as Linux gives
 * them, and the same death when nobody handles the signal. Each case runs in a child. Floating-point
 * exceptions are missing: QEMU's translator never raises them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static void *expected; /* what si_addr should be; NULL with any_addr: not printed */
static int any_addr;

static const char *code_name(int sig, int code)
{
	if (code == SI_KERNEL)
		return "SI_KERNEL";
	if (sig == SIGSEGV)
		return code == SEGV_MAPERR ? "SEGV_MAPERR" :
		       code == SEGV_ACCERR ? "SEGV_ACCERR" :
					     "?";
	if (sig == SIGBUS)
		return code == BUS_ADRERR ? "BUS_ADRERR" : "?";
	if (sig == SIGFPE)
		return code == FPE_INTDIV ? "FPE_INTDIV" : code == FPE_FLTDIV ? "FPE_FLTDIV" : "?";
	if (sig == SIGILL)
		return code == ILL_ILLOPN ? "ILL_ILLOPN" : "?";
	return "?";
}

static const char *signal_name(int sig)
{
	switch (sig) {
	case SIGSEGV: return "SIGSEGV";
	case SIGBUS: return "SIGBUS";
	case SIGFPE: return "SIGFPE";
	case SIGILL: return "SIGILL";
	case SIGTRAP: return "SIGTRAP";
	}
	return "?";
}

/* Only async-safe calls, but for snprintf into our own buffer, which both libraries keep simple. */
static void report(int sig, siginfo_t *info, void *context)
{
	char line[128];
	int n = snprintf(line, sizeof(line), "%s %s%s", signal_name(sig),
			 code_name(sig, info->si_code),
			 any_addr                  ? "" :
			 info->si_addr == expected ? ", address right" :
						     ", ADDRESS WRONG");

	if (!any_addr && info->si_addr != expected)
		n += snprintf(line + n, sizeof(line) - (size_t)n, " %p, not %p", info->si_addr,
			      expected);
	line[n++] = '\n';
	if (write(1, line, (size_t)n) < 0)
		_exit(98);
	_exit(0);
}

/* noinline: the compiler must not see what these addresses are. */
#define NOINLINE __attribute__((noinline, noclone))

static NOINLINE void read_at(void *p)
{
	expected = p;
	(void)*(volatile char *)p;
}

static NOINLINE void write_at(void *p)
{
	expected = p;
	*(volatile char *)p = 1;
}

static NOINLINE void call_at(void *p)
{
	expected = p;
	__asm__ volatile("call *%0" : : "r"(p) : "memory");
}

static char *pages(int n, int prot)
{
	char *p = mmap(NULL, (size_t)n * 4096, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		_exit(99);
	return p;
}

static void null_read(void)
{
	read_at(NULL);
}
static void null_write(void)
{
	write_at((void *)8);
}
static void null_call(void)
{
	call_at(NULL);
}
static void unmapped(void)
{
	char *p = pages(3, PROT_READ | PROT_WRITE);

	munmap(p + 4096, 4096);
	read_at(p + 4096 + 123);
}
static void kernel_read(void)
{
	read_at((void *)0xffffffff80200000ul);
}
static void kernel_write(void)
{
	write_at((void *)0xffff800000001000ul);
}
static void kernel_call(void)
{
	call_at((void *)0xffffffff80200000ul);
}
static void non_canonical(void)
{
	any_addr = 1;
	read_at((void *)0x8000000000000000ul);
}
static void top_of_user_space(void)
{
	read_at((void *)0x00007ffffffff000ul);
}
static const char constant[] = "constant";
static void rodata_write(void)
{
	write_at((void *)(uintptr_t)constant);
}
static void text_write(void)
{
	write_at((void *)(uintptr_t)text_write);
}
static unsigned char data_code[16] __attribute__((aligned(16))) = { 0xc3 };
static void data_call(void)
{
	call_at(data_code);
}
static void stack_call(void)
{
	volatile unsigned char code[16] = { 0xc3 };
	volatile uintptr_t at = (uintptr_t)code;

	call_at((void *)at);
}
static void heap_call(void)
{
	char *p = pages(1, PROT_READ | PROT_WRITE);

	p[0] = (char)0xc3;
	call_at(p);
}
static void readonly_page(void)
{
	char *p = pages(1, PROT_READ | PROT_WRITE);

	p[5] = 1;
	mprotect(p, 4096, PROT_READ);
	write_at(p + 5);
}
static void zero_page_write(void)
{
	char *p = pages(1, PROT_READ);

	(void)*(volatile char *)p;
	write_at(p);
}
static void prot_none(void)
{
	read_at(pages(1, PROT_NONE) + 17);
}
static void beyond_file(void)
{
	int fd = open("/tmp/jiffy-fault-test", O_RDWR | O_CREAT | O_TRUNC, 0600);

	unlink("/tmp/jiffy-fault-test");
	if (write(fd, "x", 1) != 1)
		_exit(97);
	char *p = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, fd, 0);
	read_at(p + 4096);
}
static void divide(void)
{
	any_addr = 1;
	__asm__ volatile("idivl %%ecx" : : "a"(1), "d"(0), "c"(0));
}
static void divide_overflow(void)
{
	any_addr = 1;
	__asm__ volatile("idivl %%ecx" : : "a"(0x80000000), "d"(0xffffffff), "c"(-1));
}
static void undefined(void)
{
	any_addr = 1;
	__asm__ volatile("ud2");
}
static void privileged(void)
{
	any_addr = 1;
	__asm__ volatile("hlt");
}
static void interrupts_off(void)
{
	any_addr = 1;
	__asm__ volatile("cli");
}
static void port(void)
{
	any_addr = 1;
	__asm__ volatile("outb %%al, $0x80" : : "a"(0));
}
static void control_register(void)
{
	unsigned long x;

	any_addr = 1;
	__asm__ volatile("mov %%cr3, %0" : "=r"(x));
}
static void model_register(void)
{
	any_addr = 1;
	__asm__ volatile("rdmsr" : : "c"(0xc0000080) : "eax", "edx");
}
static void breakpoint(void)
{
	any_addr = 1;
	__asm__ volatile("int3");
}
static void gate_of_the_kernel(void)
{
	any_addr = 1;
	__asm__ volatile("int $0x21");
}
static void return_non_canonical(void)
{
	any_addr = 1;
	__asm__ volatile("mov $0x8000000000000000, %%rax; push %%rax; ret" : : : "rax");
}
static void segment(void)
{
	any_addr = 1;
	__asm__ volatile("mov %0, %%ss" : : "r"(0x1234));
}
/* The handler changes where the program goes on; the kernel must refuse, not fault, on sysret or iret. */
static unsigned long where;
static void redirect(int sig, siginfo_t *info, void *context)
{
	struct sigaction sa = { .sa_sigaction = report, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	sigaction(SIGSEGV, &sa, NULL);
	any_addr = 1;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] = (greg_t)where;
}
static void sigreturn_to(unsigned long address)
{
	struct sigaction sa = { .sa_sigaction = redirect, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	where = address;
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
	_exit(96);
}
static void sigreturn_non_canonical(void)
{
	sigreturn_to(0x8000000000000000ul);
}
static void sigreturn_kernel(void)
{
	sigreturn_to(0xffffffff80200000ul);
}
static void sigreturn_top(void)
{
	sigreturn_to(0x00007fffffffffffl);
}
static void sigreturn_segments_handler(int sig, siginfo_t *info, void *context)
{
	struct sigaction sa = { .sa_sigaction = report, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;

	sigaction(SIGSEGV, &sa, NULL);
	any_addr = 1;
	/* Flags that a program must not have: interrupts off, I/O privilege. */
	g[REG_EFL] = (g[REG_EFL] & ~0x200) | 0x3000;
}
static void sigreturn_flags(void)
{
	struct sigaction sa = { .sa_sigaction = sigreturn_segments_handler,
				.sa_flags = SA_SIGINFO | SA_ONSTACK };
	unsigned long flags;

	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
	__asm__ volatile("pushfq; pop %0" : "=r"(flags));
	printf("interrupts %lu, io privilege %lu\n", flags >> 9 & 1, flags >> 12 & 3);
	fflush(stdout);
	_exit(0);
}

static int deeper(volatile char *above, int n)
{
	volatile char here[4096];

	here[0] = (char)n;
	return n > 1 << 24 ? above[0] : deeper(here, n + 1) + here[0];
}
static void stack_overflow(void)
{
	char c = 0;

	any_addr = 1;
	deeper(&c, 0);
}
static void stack_grows(void)
{
	volatile char big[1 << 20];

	memset((char *)(uintptr_t)big, 1, sizeof(big));
	printf("a megabyte of stack: %d\n", big[12345]);
	fflush(stdout);
	_exit(0);
}

static const struct {
	const char *name;
	void (*fn)(void);
} cases[] = {
	{ "null_read", null_read },
	{ "null_write", null_write },
	{ "null_call", null_call },
	{ "unmapped", unmapped },
	{ "kernel_read", kernel_read },
	{ "kernel_write", kernel_write },
	{ "kernel_call", kernel_call },
	{ "non_canonical", non_canonical },
	{ "top_of_user_space", top_of_user_space },
	{ "rodata_write", rodata_write },
	{ "text_write", text_write },
	{ "data_call", data_call },
	{ "stack_call", stack_call },
	{ "heap_call", heap_call },
	{ "readonly_page", readonly_page },
	{ "zero_page_write", zero_page_write },
	{ "prot_none", prot_none },
	{ "beyond_file", beyond_file },
	{ "divide", divide },
	{ "divide_overflow", divide_overflow },
	{ "undefined", undefined },
	{ "privileged", privileged },
	{ "interrupts_off", interrupts_off },
	{ "port", port },
	{ "control_register", control_register },
	{ "model_register", model_register },
	{ "breakpoint", breakpoint },
	{ "gate_of_the_kernel", gate_of_the_kernel },
	{ "return_non_canonical", return_non_canonical },
	{ "segment", segment },
	{ "sigreturn_non_canonical", sigreturn_non_canonical },
	{ "sigreturn_kernel", sigreturn_kernel },
	{ "sigreturn_top", sigreturn_top },
	{ "sigreturn_flags", sigreturn_flags },
	{ "stack_overflow", stack_overflow },
	{ "stack_grows", stack_grows },
};

static void run(unsigned i, int handle)
{
	static char altstack[65536];
	stack_t ss = { .ss_sp = altstack, .ss_size = sizeof(altstack) };
	struct sigaction sa = { .sa_sigaction = report, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	struct rlimit none = { 0, 0 };
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &none);
		sigaltstack(&ss, NULL);
		if (handle) {
			sigaction(SIGSEGV, &sa, NULL);
			sigaction(SIGBUS, &sa, NULL);
			sigaction(SIGFPE, &sa, NULL);
			sigaction(SIGILL, &sa, NULL);
			sigaction(SIGTRAP, &sa, NULL);
		}
		cases[i].fn();
		_exit(95);
	}
	if (waitpid(pid, &status, 0) != pid)
		printf("no child: %s\n", strerror(errno));
	else if (WIFSIGNALED(status))
		printf("died of signal %d\n", WTERMSIG(status));
	else
		printf("exit %d\n", WEXITSTATUS(status));
}

int main(void)
{
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		printf("#: %s\n", cases[i].name);
		fflush(stdout);
		run(i, 1);
		fflush(stdout);
		run(i, 0);
		fflush(stdout);
	}
	return 0;
}
