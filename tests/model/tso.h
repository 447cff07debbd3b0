/*
 * Memory as x86 orders it (total store order), for the models of this directory.
 *
 * What a CPU stores waits in its store buffer, first in, first out; memory takes it at any later
 * time. A load sees the CPU's own buffer first, then memory. A locked instruction, a full barrier
 * and a load of CR3 wait until the buffer is empty. So a load may overtake an older store, which is
 * all that x86 reorders.
 *
 * The includer defines CPUS and VARS before. Variables that only one lock's holder or only one CPU
 * touches need none of this and are plain ones.
 *
 * Never ends: drain
 */
#ifndef BUFFER
#define BUFFER 2
#endif

typedef cpu_view {
	byte last[VARS];   /* what this CPU stored last */
	byte waiting[VARS] /* how often that is in the buffer */
};

byte mem[VARS];
cpu_view own[CPUS];
chan buffer[CPUS] = [BUFFER] of { byte, byte };

#define load(cpu, a) (own[cpu].waiting[a] -> own[cpu].last[a] : mem[a])

/* As a statement: waits until all that the CPU stored is in memory. */
#define barrier(cpu) empty(buffer[cpu])

inline store(cpu, a, value)
{
	d_step {
		nfull(buffer[cpu]);
		buffer[cpu]!a,value;
		own[cpu].last[a] = value;
		own[cpu].waiting[a]++
	}
}

inline take(cpu)
{
	d_step {
		buffer[cpu]?address,word;
		mem[address] = word;
		own[cpu].waiting[address]--;
		address = 0;
		word = 0
	}
}

/* The buffers' way to memory: one such process for each CPU. */
proctype drain(byte cpu)
{
	byte address, word;

end:	do
	:: take(cpu)
	od
}
