/*
 * The strings that a new program gets, and its first stack.
 *
 * Arguments and environment are collected in one kernel buffer, one string behind the other, because
 * they come from the old address space and go to the new one. Limits as on Linux: 128 KiB for one
 * string, a quarter of the stack (but 128 KiB at least) for all strings and pointers, and the strings must fit on it.
 *
 * The stack, downward from its top (System V ABI for AMD64, 3.4.1): the program's name, environment,
 * arguments, platform, 16 random bytes, alignment, auxiliary vector, envp, argv, argc.
 */
#include "proc/internal.h"

#include "arch/api/uaccess.h"
#include "fs/vfs.h"
#include "lib/err.h"
#include "lib/string.h"
#include "lib/uapi/auxvec.h"
#include "lib/uapi/elf.h"
#include "lib/uapi/time.h"
#include "mm/aspace.h"
#include "mm/slab.h"

#define ARGS_MIN   (128 * KiB) /* of strings and pointers, however small RLIMIT_STACK is */
#define ARGS_MAX   (2 * MiB)   /* and however large */
#define STRING_MAX (128 * KiB) /* with its terminator */
#define AUX_PAIRS  20

struct exec_args {
	char *buf;
	size_t size, used;
	u32 argc, envc; /* the first argc strings in buf, then envc */
};

struct exec_args *exec_args_create(void)
{
	struct exec_args *a = kzalloc(sizeof(*a));

	if (!a)
		return NULL;
	a->size = PAGE_SIZE;
	a->buf = kmalloc(a->size);
	if (!a->buf) {
		kfree(a);
		return NULL;
	}
	return a;
}

void exec_args_free(struct exec_args *a)
{
	if (!a)
		return;
	kfree(a->buf);
	kfree(a);
}

/* Room for n more bytes. */
static int reserve(struct exec_args *a, size_t n)
{
	size_t size = a->size;
	char *buf;

	if (n > ARGS_MAX - a->used)
		return -E2BIG;
	if (n <= a->size - a->used)
		return 0;
	while (size - a->used < n)
		size *= 2;
	buf = kmalloc(size);
	if (!buf)
		return -ENOMEM;
	memcpy(buf, a->buf, a->used);
	kfree(a->buf);
	a->buf = buf;
	a->size = size;
	return 0;
}

static int add_user_string(struct exec_args *a, uaddr_t src)
{
	size_t room = 256;
	ssize_t len;

	for (;;) {
		int err = reserve(a, room);

		if (err)
			return err;
		room = MIN(a->size - a->used, STRING_MAX);
		len = strncpy_from_user(a->buf + a->used, src, room);
		if (len != -ENAMETOOLONG)
			break;
		if (room == STRING_MAX)
			return -E2BIG;
		room *= 2;
	}
	if (len < 0)
		return (int)len;
	a->used += (size_t)len + 1;
	return 0;
}

static int copy_vector(struct exec_args *a, uaddr_t vec, u32 *count)
{
	u64 p;
	int err;

	if (!vec)
		return 0;
	for (;; vec += sizeof(p)) {
		if (get_user(p, vec))
			return -EFAULT;
		if (!p)
			return 0;
		if (a->used + (a->argc + a->envc + 1) * sizeof(p) > ARGS_MAX)
			return -E2BIG;
		err = add_user_string(a, p);
		if (err)
			return err;
		++*count;
	}
}

int exec_args_copy(struct exec_args *a, uaddr_t argv, uaddr_t envp)
{
	int err = copy_vector(a, argv, &a->argc);

	/* A program without argv[0] is asking for trouble: it gets an empty one, as on Linux. */
	if (!err && a->argc == 0)
		err = exec_args_add_arg(a, "");
	return err ? err : copy_vector(a, envp, &a->envc);
}

static int add_string(struct exec_args *a, const char *s)
{
	size_t n = strlen(s) + 1;
	int err = reserve(a, n);

	if (err)
		return err;
	memcpy(a->buf + a->used, s, n);
	a->used += n;
	return 0;
}

int exec_args_add_arg(struct exec_args *a, const char *s)
{
	int err;

	kassert(a->envc == 0);
	err = add_string(a, s);
	if (!err)
		a->argc++;
	return err;
}

int exec_args_add_env(struct exec_args *a, const char *s)
{
	int err = add_string(a, s);

	if (!err)
		a->envc++;
	return err;
}

const char *exec_args_first(const struct exec_args *a)
{
	return a->argc ? a->buf : NULL;
}

int exec_args_script(struct exec_args *a, const char *interp, const char *arg, const char *script)
{
	const char *s[3] = { interp, arg, script };
	size_t old = a->argc ? strlen(a->buf) + 1 : 0, new = 0;
	char *to;
	int err;

	for (u32 i = 0; i < 3; i++)
		new += s[i] ? strlen(s[i]) + 1 : 0;
	err = reserve(a, new);
	if (err)
		return err;
	memmove(a->buf + new, a->buf + old, a->used - old);
	a->used += new - old;
	a->argc -= old ? 1 : 0;
	to = a->buf;
	for (u32 i = 0; i < 3; i++) {
		if (!s[i])
			continue;
		memcpy(to, s[i], strlen(s[i]) + 1);
		to += strlen(s[i]) + 1;
		a->argc++;
	}
	return 0;
}

static int put(struct aspace *as, uaddr_t to, const void *from, size_t n)
{
	return aspace_write_own(as, to, from, n) == (ssize_t)n ? 0 : -ENOMEM;
}

/* Pointers to n strings that lie from *at on, and a NULL. */
static u64 *put_pointers(u64 *v, const char **s, uaddr_t *at, u32 n)
{
	while (n--) {
		size_t len = strlen(*s) + 1;

		*v++ = *at;
		*at += len;
		*s += len;
	}
	*v++ = 0;
	return v;
}

struct stack_places {
	uaddr_t execfn, strings, platform, random;
};

static u64 *put_auxv(u64 *v, const struct exec_image *im, const struct stack_places *at)
{
	const struct process *p = current_proc();
	const u64 aux[][2] = {
		{ AT_PHDR, im->phdr },
		{ AT_PHENT, sizeof(struct elf64_phdr) },
		{ AT_PHNUM, im->phnum },
		{ AT_PAGESZ, PAGE_SIZE },
		{ AT_BASE, im->interp_base },
		{ AT_FLAGS, 0 },
		{ AT_ENTRY, im->program_entry },
		{ AT_UID, p->uid },
		{ AT_EUID, p->euid },
		{ AT_GID, p->gid },
		{ AT_EGID, p->egid },
		{ AT_SECURE, process_is_secure(p) },
		{ AT_CLKTCK, USER_HZ },
		{ AT_RANDOM, at->random },
		{ AT_PLATFORM, at->platform },
		{ AT_EXECFN, at->execfn },
		{ AT_NULL, 0 },
	};

	_Static_assert(ARRAY_SIZE(aux) <= AUX_PAIRS, "AUX_PAIRS");
	memcpy(v, aux, sizeof(aux));
	return v + 2 * ARRAY_SIZE(aux);
}

static const char platform[] = "x86_64";

static int put_strings(const struct exec_image *im, const struct exec_args *a, const char *execfn,
		       const struct stack_places *at)
{
	u8 noise[16];
	int err;

	random_bytes(noise, sizeof(noise));
	err = put(im->as, at->execfn, execfn, strlen(execfn) + 1);
	if (!err)
		err = put(im->as, at->strings, a->buf, a->used);
	if (!err)
		err = put(im->as, at->platform, platform, sizeof(platform));
	if (!err)
		err = put(im->as, at->random, noise, sizeof(noise));
	return err;
}

/* Is this too much for a stack of RLIMIT_STACK? Its first page is for nothing. */
static bool is_too_much(const struct exec_args *a, const char *execfn)
{
	u64 stack = READ_ONCE(current_proc()->rlimit[RLIMIT_STACK].cur);
	u64 strings = a->used + strlen(execfn) + 1, pointers = (a->argc + a->envc) * sizeof(u64);

	return strings + pointers > MAX(MIN(stack / 4, ARGS_MAX), ARGS_MIN) ||
	       ALIGN_UP(strings + 8, PAGE_SIZE) > MAX(stack, PAGE_SIZE);
}

int exec_stack_build(struct exec_image *im, const struct exec_args *a, const char *execfn)
{
	struct stack_places at;
	size_t words = 1 + a->argc + 1 + a->envc + 1;
	const char *s = a->buf;
	u64 *vector, *v;
	size_t bytes;
	int err;

	if (is_too_much(a, execfn))
		return -E2BIG;
	vector = kmalloc((words + 2 * AUX_PAIRS) * sizeof(u64));
	if (!vector)
		return -ENOMEM;
	at.execfn = im->stack_top - 8 - (strlen(execfn) + 1);
	at.strings = at.execfn - a->used;
	at.platform = at.strings - sizeof(platform);
	at.random = ALIGN_DOWN(at.platform - 16, 16);
	im->arg_start = at.strings;
	vector[0] = a->argc;
	v = put_pointers(vector + 1, &s, &at.strings, a->argc);
	im->arg_end = im->env_start = at.strings;
	v = put_pointers(v, &s, &at.strings, a->envc);
	im->env_end = at.strings;
	at.strings = im->arg_start;
	v = put_auxv(v, im, &at);
	bytes = (size_t)(v - vector) * sizeof(u64);
	im->sp = ALIGN_DOWN(at.random - bytes, 16);
	err = put_strings(im, a, execfn, &at);
	if (!err)
		err = put(im->as, im->sp, vector, bytes);
	kfree(vector);
	return err;
}
