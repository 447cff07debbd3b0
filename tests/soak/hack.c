/*
 * Like hackbench: groups in which each of some senders writes to each of some receivers, over pipes or
 * socket pairs (where there are any), as processes or as threads. Each message carries its sender,
 * its number and a sum; each receiver knows how many it must get.
 */
#include "soak.h"

#include <pthread.h>
#include <sys/socket.h>

#define PEERS_MAX 5
#define SIZE      100

struct message {
	uint32_t sender, nr, sum;
	char filler[SIZE - 12];
};

struct group {
	unsigned peers, loops;
	int to[PEERS_MAX], from[PEERS_MAX]; /* the receivers' ends */
	uint64_t seed;
};

struct member {
	struct group *g;
	unsigned i;
};

static uint32_t sum_of(const struct message *m)
{
	uint32_t sum = m->sender * 31 + m->nr * 7;

	for (unsigned i = 0; i < sizeof(m->filler); i++)
		sum = sum * 33 + (unsigned char)m->filler[i];
	return sum;
}

static void *sender(void *arg)
{
	struct member *me = arg;
	struct message m = { .sender = me->i };

	for (unsigned n = 0; n < me->g->loops; n++) {
		m.nr = n;
		memset(m.filler, (int)(me->g->seed + n), sizeof(m.filler));
		m.sum = sum_of(&m);
		for (unsigned i = 0; i < me->g->peers; i++)
			if (write(me->g->to[i], &m, sizeof(m)) != sizeof(m))
				fail("hack: write: %s", strerror(errno));
		count(MESSAGES);
	}
	return NULL;
}

static bool get(int fd, struct message *m)
{
	size_t got = 0;

	while (got < sizeof(*m)) {
		ssize_t n = read(fd, (char *)m + got, sizeof(*m) - got);

		if (n <= 0) {
			fail("hack: read gives %zd: %s", n, strerror(errno));
			return false;
		}
		got += n;
	}
	return true;
}

static void *receiver(void *arg)
{
	struct member *me = arg;
	unsigned next[PEERS_MAX] = { 0 };
	struct message m;

	for (unsigned n = 0; n < me->g->loops * me->g->peers; n++) {
		if (!get(me->g->from[me->i], &m))
			break;
		if (m.sender >= me->g->peers || m.sum != sum_of(&m) || m.nr != next[m.sender]++) {
			fail("hack: message %u of %u is not what was sent", m.nr, m.sender);
			break;
		}
	}
	return NULL;
}

static void run_threads(struct member *m, unsigned peers)
{
	pthread_t t[2 * PEERS_MAX];

	for (unsigned i = 0; i < 2 * peers; i++)
		if (pthread_create(&t[i], NULL, i % 2 ? sender : receiver, &m[i / 2]))
			fail("hack: pthread_create");
	for (unsigned i = 0; i < 2 * peers; i++)
		pthread_join(t[i], NULL);
}

static void run_processes(struct member *m, unsigned peers)
{
	pid_t pid[2 * PEERS_MAX];

	for (unsigned i = 0; i < 2 * peers; i++) {
		pid[i] = do_fork();
		if (pid[i] == 0) {
			(i % 2 ? sender : receiver)(&m[i / 2]);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < 2 * peers; i++)
		if (reap(pid[i]) != 0)
			fail("hack: a process ended badly");
}

void hack_round(struct rng *r)
{
	struct group g = { .peers = 1 + rng_below(r, PEERS_MAX),
			   .loops = 10 + rng_below(r, 60),
			   .seed = rng_next(r) };
	struct member m[PEERS_MAX];
	bool sockets = rng_below(r, 2);

	for (unsigned i = 0; i < g.peers; i++) {
		int fd[2];

		m[i] = (struct member){ &g, i };
		if (sockets && socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0)
			sockets = false;
		if (!sockets && pipe(fd) < 0)
			fail("hack: pipe: %s", strerror(errno));
		g.from[i] = fd[0], g.to[i] = fd[1];
	}
	if (rng_below(r, 2))
		run_threads(m, g.peers);
	else
		run_processes(m, g.peers);
	for (unsigned i = 0; i < g.peers; i++)
		close(g.from[i]), close(g.to[i]);
}
