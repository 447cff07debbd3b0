/*
 * The generation and the mask of CPUs: mm/tlb.c.
 *
 * Two CPUs change one entry each and flush it: the first a page's, the second that of a table, which
 * is freed. A third CPU switches to the space, uses it, runs a kernel thread with the space still
 * loaded (lazily), comes back, and leaves, several times; it keeps its translations while its
 * context is not behind (PCID). It reads ahead whenever it likes.
 *
 *	flusher:  stores the entry; raises the generation (locked); reads the mask, and whether who is
 *	          in it is lazy; interrupts the others and waits; then gives up what the entry named.
 *	          Who is lazy is interrupted only if a table goes
 *	switcher: sets its bit in the mask (locked); reads the generation; loads the root, keeping
 *	          translations if the context is of that generation. Back from lazy: says that it uses
 *	          the space (locked); reads the generation; forgets all if it has moved on
 *
 * Holds: while the switcher uses the space, no translation leads to a frame that was given up; and as
 * long as it has the space loaded, even lazily, none to a table that was.
 *
 * Stands for: flush, flush_local, flush_others, others_in, mm_switch_to, resume, leave, mask_set,
 * mask_clear.
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
 *	BUG_RESUME_PLAIN	back from lazy, the CPU says so by a plain store
 *	BUG_RESUME_NO_LOOK	back from lazy, it does not look at the generation
 *	BUG_RESUME_GEN_FIRST	back from lazy, it reads the generation before it says so
 *	BUG_LAZY_TABLES		lazy CPUs are passed by, even if a table goes
 *	BUG_LAZY_STAYS		a lazy CPU that is interrupted because a table goes does nothing
 */
#define CPUS 3
#define VARS 5
#define BUFFER 1
#define SWITCHER 2
#define ROUNDS 3

#define ENTRY(i) (i)	/* 0: what is given up, 1: something else */
#define GEN	 2
#define MASK	 3	/* the switcher's bit alone */
#define ACTIVE	 4	/* its active_space: 0 another, 1 this one, 2 this one, lazily */
#include "tso.inc"

#define PAGE  0
#define TABLE 1

bool freed[2];
byte cached[2];		/* the switcher's translations: 0 none, 1 what is given up, 2 the other */
byte context_gen;
bool loaded;		/* the space's root is in CR3 */
bool using;		/* and a program runs */
byte request[2];	/* an interrupt from a flusher: the generation after its flush; 0 none */

#ifdef BUG_LAZY_TABLES
#define concerned(i) (load(i, MASK) && load(i, ACTIVE) != 2)
#else
#define concerned(i) (load(i, MASK) && (load(i, ACTIVE) != 2 || i == TABLE))
#endif

proctype flusher(byte i)
{
	byte gen;
	bool others;

#ifdef BUG_MASK_BEFORE_GEN
	others = concerned(i);
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
	if
	:: !load(i, MASK) -> others = false
	:: else -> others = concerned(i)
	fi;
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

/* flush_local on the switcher, for the entry of flusher i. */
inline interrupt()
{
	atomic {
		(request[0] || request[1]) && barrier(SWITCHER) ->
		if
		:: request[0] != 0 -> i = 0
		:: request[1] != 0 -> i = 1
		fi;
		if
		:: mem[ACTIVE] == 1 ->
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
#ifndef BUG_LAZY_STAYS
		:: mem[ACTIVE] == 2 && i == TABLE -> /* leave_local */
			loaded = false;
			mem[ACTIVE] = 0;
			mem[MASK] = 0
#endif
		:: else
		fi;
		request[i] = 0;
		i = 0
	}
}

inline forget_if_behind()
{
	if
	:: context_gen != gen ->
		cached[0] = 0;
		cached[1] = 0;
		context_gen = gen
	:: else
	fi
}

inline switch_to()
{
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
	store(SWITCHER, ACTIVE, 1);
	atomic {
		barrier(SWITCHER) -> /* CR3 */
#ifdef BUG_ALWAYS_KEEP
		context_gen = gen;
#else
		forget_if_behind();
#endif
		loaded = true;
		using = true;
		gen = 0
	}
}

inline resume()
{
#ifdef BUG_RESUME_GEN_FIRST
	gen = load(SWITCHER, GEN);
#endif
#ifdef BUG_RESUME_PLAIN
	store(SWITCHER, ACTIVE, 1);
#else
	atomic { barrier(SWITCHER) -> mem[ACTIVE] = 1 };
#endif
#ifndef BUG_RESUME_GEN_FIRST
	gen = load(SWITCHER, GEN);
#endif
	atomic {
#ifndef BUG_RESUME_NO_LOOK
		forget_if_behind();
#endif
		using = true;
		gen = 0
	}
}

inline leave()
{
	using = false;
	store(SWITCHER, ACTIVE, 0);
	atomic { barrier(SWITCHER) -> loaded = false }; /* CR3 */
	atomic { barrier(SWITCHER) -> mem[MASK] = 0 }
}

proctype switcher()
{
	byte gen, round, i;

end:	do
	:: !loaded && round < ROUNDS -> round++; switch_to()
	:: using -> using = false; store(SWITCHER, ACTIVE, 2) /* a kernel thread */
	:: loaded && !using && round < ROUNDS -> round++; resume()
	:: loaded -> leave()
	:: atomic { loaded && cached[0] == 0 -> cached[0] = 1 + load(SWITCHER, ENTRY(0)) }
	:: atomic { loaded && cached[1] == 0 -> cached[1] = 1 + load(SWITCHER, ENTRY(1)) }
	:: interrupt()
	od
}

/* The property, looked at in every state. */
proctype monitor()
{
end:	do
	:: d_step { using && freed[PAGE] && cached[PAGE] == 1 -> assert(false) }
	:: d_step { loaded && freed[TABLE] && cached[TABLE] == 1 -> assert(false) }
	od
}

init {
	atomic {
		run flusher(PAGE); run flusher(TABLE); run switcher(); run monitor();
		run drain(0); run drain(1); run drain(2)
	}
}
