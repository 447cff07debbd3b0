/*
 * What the programs abi_*.c share: each prints one line per check, which must be the same on Linux
 * and on Jiffy. System calls are made without the C library, which has opinions of its own.
 */
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define TOP  0x7ffffffff000ul /* the end of user space */

#define RW   (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define SHAN (MAP_SHARED | MAP_ANONYMOUS)

#define UNUSED __attribute__((unused))

UNUSED static void title(const char *name)
{
	printf("#: %s\n", name);
	fflush(stdout);
}

static const char *error_name(int e)
{
	static const struct {
		int e;
		const char *name;
	} names[] = {
		{ EINVAL, "EINVAL" },         { ENOMEM, "ENOMEM" },
		{ EACCES, "EACCES" },         { EPERM, "EPERM" },
		{ EBADF, "EBADF" },           { EAGAIN, "EAGAIN" },
		{ EFAULT, "EFAULT" },         { EEXIST, "EEXIST" },
		{ ENODEV, "ENODEV" },         { EBUSY, "EBUSY" },
		{ EOVERFLOW, "EOVERFLOW" },   { ESRCH, "ESRCH" },
		{ EOPNOTSUPP, "EOPNOTSUPP" }, { ENOSYS, "ENOSYS" },
		{ ENXIO, "ENXIO" },           { EIO, "EIO" },
		{ ENOENT, "ENOENT" },         { ETXTBSY, "ETXTBSY" },
		{ EFBIG, "EFBIG" },
	};
	static char text[16];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].e == e)
			return names[i].name;
	snprintf(text, sizeof(text), "errno %d", e);
	return text;
}

/* "ok", or the error of a call that returned -1. */
UNUSED static void call(const char *what, long ret)
{
	printf("%s: %s\n", what, ret == -1 ? error_name(errno) : "ok");
	fflush(stdout);
}

UNUSED static void value(const char *what, long v)
{
	printf("%s: %ld\n", what, v);
	fflush(stdout);
}

UNUSED static void truth(const char *what, int is)
{
	printf("%s: %s\n", what, is ? "yes" : "no");
	fflush(stdout);
}

UNUSED static void text(const char *what, const char *s)
{
	printf("%s: %s\n", what, s);
	fflush(stdout);
}

/* ---- raw calls ---- */

UNUSED static char *map(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	return (char *)syscall(SYS_mmap, at, len, prot, flags, fd, off);
}

UNUSED static char *anon(size_t pages)
{
	char *p = map(NULL, pages * PAGE, RW, ANON, -1, 0);

	if (p == MAP_FAILED) {
		printf("no memory for %zu pages: %s\n", pages, error_name(errno));
		exit(3);
	}
	return p;
}

/* A place where `pages` pages are free, with free ones around. */
UNUSED static char *place(size_t pages)
{
	char *p = map(NULL, (pages + 64) * PAGE, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);

	syscall(SYS_munmap, p, (pages + 64) * PAGE);
	return p + 32 * PAGE;
}

#define unmap(p, len)           syscall(SYS_munmap, p, len)
#define protect(p, len, prot)   syscall(SYS_mprotect, p, len, prot)
#define advise(p, len, what)    syscall(SYS_madvise, p, len, what)
#define remap(p, ol, nl, f, at) ((char *)syscall(SYS_mremap, p, ol, nl, f, at))

/* ---- accesses that may fail ---- */

static sigjmp_buf probe_jump;
static volatile int probe_sig, probe_code;
static void *volatile probe_address;

static void probe_handler(int sig, siginfo_t *info, void *context)
{
	probe_sig = sig;
	probe_code = info->si_code;
	probe_address = info->si_addr;
	siglongjmp(probe_jump, 1);
}

static void probe_begin(void)
{
	struct sigaction sa = { 0 };

	sa.sa_sigaction = probe_handler;
	sa.sa_flags = SA_SIGINFO | SA_NODEFER;
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	probe_sig = 0;
}

static const char *probe_result(void *p)
{
	if (!probe_sig)
		return "ok";
	if (probe_address != p)
		return "a signal with another address";
	if (probe_sig == SIGBUS)
		return probe_code == BUS_ADRERR ? "SIGBUS, BUS_ADRERR" : "SIGBUS, another code";
	return probe_code == SEGV_MAPERR ? "SIGSEGV, SEGV_MAPERR" :
	       probe_code == SEGV_ACCERR ? "SIGSEGV, SEGV_ACCERR" :
					   "SIGSEGV, another code";
}

/* Does reading or writing one byte work? What the byte is stays as it was. */
UNUSED static const char *try_read(void *p)
{
	probe_begin();
	if (!sigsetjmp(probe_jump, 1))
		(void)*(volatile char *)p;
	return probe_result(p);
}

UNUSED static const char *try_write(void *p)
{
	probe_begin();
	if (!sigsetjmp(probe_jump, 1))
		*(volatile char *)p = *(volatile char *)p;
	return probe_result(p);
}

/* A byte of memory, or -1 if it cannot be read. */
UNUSED static int byte_at(void *p)
{
	return strcmp(try_read(p), "ok") ? -1 : *(unsigned char *)p;
}

/* ---- children ---- */

/* Runs fn in a child; its exit status, or 1000 + signal. */
UNUSED static int in_child(int (*fn)(void *arg), void *arg)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		int ret = fn(arg);

		fflush(stdout);
		_exit(ret);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* A file without a name, of so many bytes, filled with 'a' + page number. */
UNUSED static int temp_file(size_t size)
{
	char name[] = "/tmp/abi-XXXXXX", page[PAGE];
	int fd;

	mkdir("/tmp", 0777);
	fd = mkstemp(name);
	unlink(name);
	for (size_t at = 0; at < size; at += PAGE) {
		size_t n = size - at < PAGE ? size - at : PAGE;

		memset(page, 'a' + (int)(at / PAGE), n);
		if (pwrite(fd, page, n, (off_t)at) != (ssize_t)n)
			exit(4);
	}
	return fd;
}
