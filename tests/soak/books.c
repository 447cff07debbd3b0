/*
 * The kernel's books: /proc/jiffy/objects before and after, and /proc/jiffy/audit. The kernel gives
 * some things back a moment later (grace periods, stacks), so a difference counts when it stays.
 */
#include "books.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINES   128
#define RETRIES 100 /* 0.1 s each */

struct line {
	char name[24];
	long value;
};

static struct line before[LINES], after[LINES];
static char text[16384];

static bool read_file(const char *path)
{
	int fd = open(path, O_RDONLY);
	ssize_t n, len = 0;

	if (fd < 0)
		return false;
	while ((n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += n;
	text[len] = 0;
	close(fd);
	return n == 0;
}

/*
 * What an allocator keeps for itself is its own business: full and empty magazines, the pieces into
 * which stacks that are kept cut the kernel's addresses. The audit looks at those.
 */
static bool is_private(const char *name)
{
	return !strcmp(name, "slab-magazine") || !strcmp(name, "kva_range");
}

static bool read_objects(struct line *to)
{
	char *at = text;
	int used, n = 0;

	memset(to, 0, sizeof(before));
	if (!read_file("/proc/jiffy/objects"))
		return false;
	while (n < LINES && sscanf(at, "%23s %ld\n%n", to[n].name, &to[n].value, &used) == 2) {
		at += used;
		n += !is_private(to[n].name);
	}
	return n > 0;
}

/* Two that follow each other agree: nothing is on its way any more. */
bool books_take(void)
{
	for (int i = 0; i < RETRIES; i++) {
		if (!read_objects(before))
			return false;
		usleep(100000);
		if (!read_objects(after))
			return false;
		if (!memcmp(before, after, sizeof(before)))
			break;
	}
	return true;
}

static bool objects_agree(bool tell)
{
	bool ok = true;

	for (int i = 0; i < LINES; i++) {
		if (before[i].value == after[i].value && !strcmp(before[i].name, after[i].name))
			continue;
		ok = false;
		if (tell)
			printf("books: %s: %ld before, %ld after\n", after[i].name, before[i].value,
			       after[i].value);
	}
	return ok;
}

static bool audit_passes(void)
{
	unsigned long slots = 0;
	unsigned checks = 0, failed = 1;
	char *end;

	for (int i = 0; i < RETRIES; i++, usleep(100000)) {
		if (!read_file("/proc/jiffy/audit"))
			return false;
		end = strstr(text, "slots ");
		if (end &&
		    sscanf(end, "slots %lu\nchecks %u\nfailed %u", &slots, &checks, &failed) == 3 &&
		    (slots || failed))
			break;
	}
	if (failed || !slots)
		printf("books: the kernel's audit:\n%s", text);
	else
		printf("books: the kernel's audit: %u counts agree, %lu slots of page tables\n",
		       checks, slots);
	return !failed && slots;
}

bool books_balance(void)
{
	bool ok = false;

	for (int i = 0; i < RETRIES && !ok; i++) {
		if (!read_objects(after))
			return false;
		ok = objects_agree(false);
		if (!ok)
			usleep(100000);
	}
	objects_agree(true);
	if (ok)
		printf("books: nothing is lost: frames, objects, threads, files as before\n");
	return audit_passes() && ok;
}
