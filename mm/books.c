/*
 * The audit of frames, objects and translation caches (proc/audit.c stops the machine for it): what is
 * free and what is in use is all there is; the frames that the caches say they have are those that the
 * frame allocator gave them.
 */
#include "lib/audit.h"
#include "mm/aspace.h"
#include "mm/frame.h"
#include "mm/slab.h"
#include "mm/tlb.h"

static u64 audit_objects(struct audit *a)
{
	struct slab_stats s;
	u64 frames = 0;

	for (unsigned i = 0; slab_stats(i, &s); i++) {
		audit_equal(a, s.in_use + s.free, s.total, "objects of %s: in use + free", s.name);
		frames += s.frames;
	}
	return frames;
}

static void audit_frames(struct audit *a, u64 slab_frames)
{
	struct frame_stats s;
	u64 all;

	frame_stats(&s);
	all = s.free + s.cached;
	for (unsigned i = 0; i < FRAME_TYPES; i++)
		if (i != FRAME_FREE && i != FRAME_CACHED)
			all += s.used[i];
	audit_equal(a, all, s.total, "frames: free + cached + used");
	audit_equal(a, s.used[FRAME_SLAB], slab_frames, "frames of slabs");
}

void mm_audit(struct audit *a)
{
	audit_frames(a, audit_objects(a));
	tlb_audit(a);
}
