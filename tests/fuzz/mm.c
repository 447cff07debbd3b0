/*
 * The random test of mm/ (tests/mm) by libFuzzer, which finds records that reach new code. The input
 * is what mm_random --replay reads: a header (CPUs - 1, contexts), then records. See ./jiffy fuzz.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/mm/mm.h"

#define FRAMES 12000 /* setting up fewer is faster */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	u64 n = size / RECORD_BYTES;
	struct record *r;
	struct run run = { .name = "fuzz mm", .contexts = 3, .frames = FRAMES };

	/* Never fewer contexts than before, in one process: always those of header byte 1. */
	if (n < 2 || data[1] != 1)
		return -1;
	r = malloc(n * sizeof(*r));
	if (!r)
		return -1;
	memcpy(r, data, n * sizeof(*r));
	run.cpus = 1 + r[0].byte[0] % MAX_CPUS;
	run.record = r + 1;
	run.n = n - 1;
	run_records(&run);
	free(r);
	return 0;
}
