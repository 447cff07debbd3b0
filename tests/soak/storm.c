/*
 * Threads of one process that map, unmap, protect, move and touch, each its own regions, in one
 * address space. Each thread knows what each of its pages must hold, looks, and asks the kernel to
 * read what it may not (EFAULT). Forked children find the same and change their copy.
 */
#define _GNU_SOURCE
#include "soak.h"

#include <fcntl.h>
#include <pthread.h>

#define THREADS 4
#define REGIONS 8
#define PAGES   64

struct region {
	char *at; /* NULL: none */
	unsigned pages;
	int prot;
	uint32_t holds[PAGES]; /* the first word of each page */
};

struct storm {
	struct rng r;
	struct region region[REGIONS];
	int null;
	unsigned steps;
};

static void check_page(const struct region *g, unsigned i)
{
	uint32_t is = *(volatile uint32_t *)(g->at + i * PAGE);

	if (is != g->holds[i])
		fail("storm: page %u of %p holds %#x, not %#x", i, g->at, is, g->holds[i]);
}

static void check(const struct region *g)
{
	if (g->at && (g->prot & PROT_READ))
		for (unsigned i = 0; i < g->pages; i++)
			check_page(g, i);
}

static void step_map(struct storm *s, struct region *g)
{
	g->pages = 1 + rng_below(&s->r, PAGES);
	g->prot = PROT_READ | PROT_WRITE;
	g->at = mmap(NULL, g->pages * PAGE, g->prot,
		     MAP_ANONYMOUS |
			     (rng_below(&s->r, 4) ? MAP_PRIVATE : MAP_PRIVATE | MAP_NORESERVE),
		     -1, 0);
	memset(g->holds, 0, sizeof(g->holds));
	if (g->at == MAP_FAILED) {
		fail("storm: mmap: %s", strerror(errno));
		g->at = NULL;
	}
	count(MAPPINGS);
}

static void step_unmap(struct region *g)
{
	check(g);
	if (munmap(g->at, g->pages * PAGE))
		fail("storm: munmap: %s", strerror(errno));
	g->at = NULL;
}

static void step_touch(struct storm *s, struct region *g)
{
	if (!(g->prot & PROT_WRITE))
		return;
	for (unsigned n = rng_below(&s->r, g->pages) + 1; n; n--) {
		unsigned i = rng_below(&s->r, g->pages);

		check_page(g, i);
		g->holds[i] = (uint32_t)rng_next(&s->r);
		*(volatile uint32_t *)(g->at + i * PAGE) = g->holds[i];
	}
}

static void step_protect(struct storm *s, struct region *g)
{
	static const int prots[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE };
	int prot = prots[rng_below(&s->r, 3)];
	ssize_t n;

	check(g);
	if (mprotect(g->at, g->pages * PAGE, prot))
		fail("storm: mprotect: %s", strerror(errno));
	g->prot = prot;
	/* /dev/null does not look at what is written: a pipe would. */
	n = readlink(g->at, (char[8]){ 0 }, 8);
	if (prot == PROT_NONE && !(n < 0 && errno == EFAULT))
		fail("storm: a path in PROT_NONE gives %zd, errno %d", n, errno);
	check(g);
}

static void step_move(struct storm *s, struct region *g)
{
	unsigned pages = 1 + rng_below(&s->r, PAGES);
	char *to = mremap(g->at, g->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE);

	if (to == MAP_FAILED) {
		fail("storm: mremap: %s", strerror(errno));
		return;
	}
	for (unsigned i = g->pages; i < pages; i++)
		g->holds[i] = 0;
	g->at = to;
	g->pages = pages;
	check(g);
}

static void step_advise(struct storm *s, struct region *g)
{
	unsigned first = rng_below(&s->r, g->pages), n = 1 + rng_below(&s->r, g->pages - first);

	if (madvise(g->at + first * PAGE, n * PAGE, MADV_DONTNEED))
		fail("storm: madvise: %s", strerror(errno));
	for (unsigned i = first; i < first + n; i++)
		g->holds[i] = 0;
	check(g);
}

/* A child sees what we see, changes its own, and we do not notice. */
static void step_fork(struct storm *s)
{
	pid_t pid = do_fork();
	int status;

	if (pid == 0) {
		unsigned before = atomic_load(&shared->failures);

		for (unsigned i = 0; i < REGIONS; i++) {
			struct region *g = &s->region[i];

			check(g);
			if (g->at && (g->prot & PROT_WRITE))
				for (unsigned n = 0; n < g->pages; n += 3)
					*(volatile uint32_t *)(g->at + n * PAGE) = ~g->holds[n];
		}
		_exit(atomic_load(&shared->failures) != before);
	}
	status = reap(pid);
	if (status)
		fail("storm: the child ended with %#x", status);
	for (unsigned i = 0; i < REGIONS; i++)
		check(&s->region[i]);
}

/* More than 2 MiB, for large pages and tables that come and go. */
static void step_large(struct storm *s)
{
	size_t size = (3 + rng_below(&s->r, 4)) << 20;
	uint32_t word = (uint32_t)rng_next(&s->r) | 1;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		fail("storm: mmap of %zu: %s", size, strerror(errno));
		return;
	}
	for (size_t i = 0; i < size; i += 64 * PAGE)
		*(volatile uint32_t *)(p + i) = word + (uint32_t)i;
	if (madvise(p + size / 2, PAGE, MADV_DONTNEED))
		fail("storm: madvise: %s", strerror(errno));
	for (size_t i = 0; i < size; i += 64 * PAGE) {
		uint32_t want = i / PAGE == size / 2 / PAGE ? 0 : word + (uint32_t)i;

		if (*(volatile uint32_t *)(p + i) != want)
			fail("storm: large: %#x, not %#x", *(volatile uint32_t *)(p + i), want);
	}
	munmap(p, size);
	count(MAPPINGS);
}

static void *storm(void *arg)
{
	struct storm *s = arg;

	for (unsigned n = 0; n < s->steps && !stopping(); n++) {
		struct region *g = &s->region[rng_below(&s->r, REGIONS)];

		if (!g->at) {
			step_map(s, g);
			continue;
		}
		switch (rng_below(&s->r, 20)) {
		case 0: step_fork(s); break;
		case 1: step_large(s); break;
		case 2:
		case 3: step_unmap(g); break;
		case 4:
		case 5:
		case 6: step_protect(s, g); break;
		case 7:
		case 8: step_move(s, g); break;
		case 9:
		case 10: step_advise(s, g); break;
		default: step_touch(s, g);
		}
	}
	for (unsigned i = 0; i < REGIONS; i++)
		if (s->region[i].at)
			step_unmap(&s->region[i]);
	return NULL;
}

/* In a process of its own: so the end of threads and of a space is part of it. */
void storm_round(struct rng *r)
{
	static struct storm s[THREADS];
	pthread_t t[THREADS];
	pid_t pid = do_fork();

	for (unsigned i = 0; i < THREADS; i++)
		s[i] = (struct storm){ .r = { rng_next(r) }, .steps = 100 };
	if (pid == 0) {
		for (unsigned i = 0; i < THREADS; i++)
			if (pthread_create(&t[i], NULL, storm, &s[i]))
				fail("storm: pthread_create");
		if (rng_below(r, 4) == 0) {
			nap(r, 20000);
			_exit(0); /* with all threads at work */
		}
		for (unsigned i = 0; i < THREADS; i++)
			pthread_join(t[i], NULL);
		_exit(0);
	}
	if (reap(pid))
		fail("storm: the process ended badly");
}
