/*
 * The generation and the mask of CPUs: mm/tlb.c.
 *
 * Two CPUs change one page each and flush it (flush); a third one switches to the space, uses it,
 * and leaves it, several times (mm_switch_to), keeping its translations while its context is not
 * behind (PCID). It reads pages ahead whenever it likes.
 *
 *	flusher:  stores the entry; raises the generation (locked); reads the mask; interrupts who
 *	          is in it and waits; then the old frame may be used for something else
 *	switcher: sets its bit in the mask (locked); reads the generation; loads the root, keeping
 *	          translations if the context is of that generation
 *
 * Holds: while the switcher runs in the space, no translation of it leads to a frame that a flusher
 * has given up.
 *
 * Stands for: flush, flush_local, mm_switch_to, mask_set, mask_clear.
 * Never ends: switcher monitor
 *
 * Broken on purpose:
 *	BUG_PUBLISH_PLAIN	the mask is set by a plain store: no barrier before the generation is read
 *	BUG_GEN_BEFORE_MASK	the switcher reads the generation, then publishes itself
 *	BUG_MASK_BEFORE_GEN	the flusher reads the mask, then raises the generation
 *	BUG_RAISE_PLAIN		the generation is raised by a plain store: no barrier before the mask is read
 *	BUG_NO_RAISE		the flusher raises no generation
 *	BUG_RAISE_FIRST		the generation is raised before the entry is written
 *	BUG_CATCH_UP		a flush of one page brings a context from any generation to its own
 *	BUG_NO_WAIT		the flusher does not wait for the CPU that it interrupted
 *	BUG_ALWAYS_KEEP		a switch keeps the translations, whatever the generations
 *	BUG_NO_LOCAL		the interrupted CPU forgets nothing
 */
#define CPUS 3
#define VARS 4
#define SWITCHER 2
#define ROUNDS 3

#define ENTRY(i) (i)	/* 0: the old frame, 1: another */
#define GEN	 2
#define MASK	 3	/* the switcher's bit alone */
#include "tso.inc"

bool freed[2];		/* the old frames */
byte cached[2];		/* the switcher's translations: 0 none, 1 the old frame, 2 the new one */
byte context_gen;
bool loaded;		/* active_space is our space */
byte request[2];	/* an interrupt from a flusher: the generation after its flush; 0 none */

proctype flusher(byte i)
{
	byte gen;
	bool others;

#ifdef BUG_MASK_BEFORE_GEN
	others = load(i, MASK);
#endif
#ifndef BUG_RAISE_FIRST
	store(i, ENTRY(i), 1);
#endif
#ifdef BUG_NO_RAISE
	barrier(i);
	gen = mem[GEN];
#else
#ifdef BUG_RAISE_PLAIN
	gen = load(i, GEN) + 1;
	store(i, GEN, gen);
#else
	atomic { barrier(i) -> mem[GEN] = mem[GEN] + 1; gen = mem[GEN] };
#endif
#endif
#ifdef BUG_RAISE_FIRST
	store(i, ENTRY(i), 1);
#endif
#ifndef BUG_MASK_BEFORE_GEN
	others = load(i, MASK);
#endif
	if
	:: others ->
		request[i] = gen;
#ifndef BUG_NO_WAIT
		request[i] == 0
#endif
	:: else
	fi;
	freed[i] = true
}

/* flush_local on the switcher, for the page of flusher i. */
inline interrupt(i)
{
	d_step {
		request[i] != 0;
		if
		:: loaded ->
#ifndef BUG_NO_LOCAL
			cached[i] = 0;
#endif
#ifdef BUG_CATCH_UP
			context_gen = request[i]
#else
			if
			:: context_gen == request[i] - 1 -> context_gen = request[i]
			:: else
			fi
#endif
		:: else
		fi;
		request[i] = 0
	}
}

#define stale(i) (freed[i] && cached[i] == 1)

proctype switcher()
{
	byte gen, round;

	do
	:: round < ROUNDS ->
		round++;
		/* mm_switch_to, interrupts off */
#ifdef BUG_GEN_BEFORE_MASK
		gen = load(SWITCHER, GEN);
#endif
#ifdef BUG_PUBLISH_PLAIN
		store(SWITCHER, MASK, 1);
#else
		atomic { barrier(SWITCHER) -> mem[MASK] = 1 };
#endif
#ifndef BUG_GEN_BEFORE_MASK
		gen = load(SWITCHER, GEN);
#endif
		atomic {
			barrier(SWITCHER) -> /* CR3 */
#ifndef BUG_ALWAYS_KEEP
			if
			:: context_gen == gen
			:: else -> cached[0] = 0; cached[1] = 0
			fi;
#endif
			context_gen = gen;
			loaded = true
		};
		do
		:: cached[0] == 0 -> cached[0] = 1 + load(SWITCHER, ENTRY(0))
		:: cached[1] == 0 -> cached[1] = 1 + load(SWITCHER, ENTRY(1))
		:: interrupt(0)
		:: interrupt(1)
		:: break
		od;
		/* to another space: its root, then out of the mask */
		loaded = false;
		atomic { barrier(SWITCHER) -> mem[MASK] = 0 }
	:: interrupt(0)
	:: interrupt(1)
	:: round == ROUNDS -> break
	od;
end:	do
	:: interrupt(0)
	:: interrupt(1)
	od
}

/* The property, looked at in every state. */
proctype monitor()
{
end:	do
	:: d_step { loaded && (stale(0) || stale(1)) -> assert(false) }
	od
}

init {
	atomic {
		run flusher(0); run flusher(1); run switcher(); run monitor();
		run drain(0); run drain(1); run drain(2)
	}
}
