/*
 * Random bytes for /dev/random, /dev/urandom and getrandom(2).
 *
 * The generator is ChaCha20 (RFC 8439) with its key erased after each use: a request takes one
 * block from the pool's key, half of it becomes the pool's next key, the other half the key of
 * the request's own stream. Small requests share what such a block gives. Nothing that is in memory
 * afterwards leads back to bytes given out.
 *
 * The seed is what the processor's generator gives (RDRAND, where there is one) mixed with
 * time-stamp counts and the clocks; the counter is stirred in again at each request. On a machine
 * without RDRAND the seed is only as hard to guess as those counts are: not fit for keys. There is
 * no accounting of entropy: /dev/random never blocks.
 */
#include "arch/api/cpu.h"
#include "fs/vfs.h"
#include "lib/string.h"
#include "time/clock.h"

static spinlock_t pool_lock = SPINLOCK_INIT("random", RANK_FILE);
static u32 pool_key[8];  /* [pool_lock] */
static u64 pool_counter; /* [pool_lock] */

/* What is left of a block for small requests: each byte is given out once, and erased. */
static u8 stock[32];        /* [pool_lock] */
static unsigned stock_left; /* [pool_lock] */

static u32 rotl(u32 x, unsigned n)
{
	return x << n | x >> (32 - n);
}

static __always_inline void quarter_round(u32 *x, unsigned a, unsigned b, unsigned c, unsigned d)
{
	x[a] += x[b];
	x[d] = rotl(x[d] ^ x[a], 16);
	x[c] += x[d];
	x[b] = rotl(x[b] ^ x[c], 12);
	x[a] += x[b];
	x[d] = rotl(x[d] ^ x[a], 8);
	x[c] += x[d];
	x[b] = rotl(x[b] ^ x[c], 7);
}

/* One block of 64 bytes: RFC 8439, 2.3, with a counter and a nonce of 64 bits each. */
static void chacha_block(const u32 key[8], u64 counter, u64 nonce, u32 out[16])
{
	const u32 in[16] = {
		0x61707865,   0x3320646e,
		0x79622d32,   0x6b206574,
		key[0],       key[1],
		key[2],       key[3],
		key[4],       key[5],
		key[6],       key[7],
		(u32)counter, (u32)(counter >> 32),
		(u32)nonce,   (u32)(nonce >> 32),
	};

	memcpy(out, in, sizeof(in));
	for (unsigned i = 0; i < 10; i++) {
		quarter_round(out, 0, 4, 8, 12);
		quarter_round(out, 1, 5, 9, 13);
		quarter_round(out, 2, 6, 10, 14);
		quarter_round(out, 3, 7, 11, 15);
		quarter_round(out, 0, 5, 10, 15);
		quarter_round(out, 1, 6, 11, 12);
		quarter_round(out, 2, 7, 8, 13);
		quarter_round(out, 3, 4, 9, 14);
	}
	for (unsigned i = 0; i < 16; i++)
		out[i] += in[i];
}

void random_init(void)
{
	u32 block[16];

	for (unsigned i = 0; i < 8; i++) {
		u64 word = 0;

		cpu_hw_random(&word);
		word ^= cpu_cycles() * 0x9e3779b97f4a7c15ul ^ clock_realtime_ns();
		pool_key[i] ^= (u32)(word ^ word >> 32);
		chacha_block(pool_key, word, clock_ns(), block);
		memcpy(pool_key, block, sizeof(pool_key));
	}
}

/* A key for one request's stream. */
static void draw_key(u32 key[8])
{
	u32 block[16];

	spin_lock(&pool_lock);
	chacha_block(pool_key, pool_counter++, cpu_cycles(), block);
	memcpy(pool_key, block, sizeof(pool_key));
	memcpy(key, block + 8, 8 * sizeof(u32));
	spin_unlock(&pool_lock);
}

static void draw_small(void *buf, size_t n)
{
	u32 block[16];

	spin_lock(&pool_lock);
	if (stock_left < n) {
		chacha_block(pool_key, pool_counter++, cpu_cycles(), block);
		memcpy(pool_key, block, sizeof(pool_key));
		memcpy(stock, block + 8, sizeof(stock));
		stock_left = sizeof(stock);
	}
	stock_left -= (unsigned)n;
	memcpy(buf, stock + stock_left, n);
	memset(stock + stock_left, 0, n);
	spin_unlock(&pool_lock);
}

void random_bytes(void *buf, size_t n)
{
	u32 key[8], block[16];
	u8 *p = buf;

	if (n <= sizeof(stock)) {
		draw_small(buf, n);
		return;
	}
	draw_key(key);
	for (u64 i = 0; n; i++) {
		size_t part = MIN(n, sizeof(block));

		chacha_block(key, i, 0, block);
		memcpy(p, block, part);
		p += part;
		n -= part;
	}
}

ssize_t random_read(struct file *f, struct uio *dst, u64 *pos)
{
	u32 key[8], block[16];
	size_t done = 0;

	draw_key(key);
	for (u64 i = 0; dst->left; i++) {
		size_t part = MIN(dst->left, sizeof(block)), moved;

		chacha_block(key, i, 0, block);
		moved = uio_put(dst, block, part);
		done += moved;
		if (moved < part)
			return done ? (ssize_t)done : -EFAULT;
		if (signal_pending_current() && done >= PAGE_SIZE)
			break; /* a long read can be interrupted, as on Linux */
	}
	return (ssize_t)done;
}
