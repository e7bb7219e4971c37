/*
 * open.pml -- gate, alone, join, recovery, clean mark, last close  [O1] [O2] [O3] [Y1]
 *
 * Three handles, one after the other or at the same time, open, perhaps write one record, sync it, and close. Any of them may
 * be killed between any two instructions. One sync may fail: what was in the page cache and not on disk is then
 * clean, and only who had the file open before, or nobody, is told. At the end somebody opens alone and recovers.
 * What he takes for durable must be on disk, a clean file must need no recovery, and nothing acknowledged is lost.
 *
 * run: ok
 * run: ok NO_ERROR
 * run: caught MARK_LATE           the first modification comes before the clean mark is gone from the disk
 * run: caught MARK_FIRST          the last close sets the mark before it syncs
 * run: caught LAST_UNCHECKED      a handle that closes does not look whether others are left
 * run: caught CLOSE_POISONED      the last close sets the mark in spite of poison
 * run: caught REBUILD_FIRST       the area is rebuilt, and poison forgotten, before recovery is done
 * run: caught RECOVER_UNGUARDED   recovery syncs without leaving an intent in the old area
 * run: caught TRUST_CACHE         poison or an intent is found, and the page cache is trusted
 * run: caught NO_GATE             open and close decide without the gate
 * run: caught INSTANCE_FIRST      the instance id is written before the area is rebuilt
 * run: caught WITNESS_DIRTY       an opener finds poison or an intent
 */
#define H 3

/* The file: a number in the cache and on disk; what lies above the disk's is dirty, or lost when `clean_lost`. */
byte cache, disk;
bool lost;                      /* cache > disk, and the kernel believes that all is written */
bool mark = true, mark_disk = true;
byte acked;                     /* ghost */

/* The coordination area. */
bool instance, poison;
byte stable;
bool intent[H];
byte garbage;                   /* of a process that has died */

byte gate;                      /* 0, or handle + 1 */
bool locked[H], killed[H], open[H], pending[H], done[H];
bool failed, told;
byte deaths;

#ifdef NO_ERROR
#define MAY_FAIL false
#else
#define MAY_FAIL (!failed)
#endif

#define ALONE   (!locked[(me + 1) % H] && !locked[(me + 2) % H])
#define SUSPECT (poison || intent[0] || intent[1] || intent[2])

/* The kernel syncs all that is dirty, or fails once and tells the descriptors that are open. */
inline sync()
{
    atomic {
        if
        :: lost
        :: !lost -> disk = cache; mark_disk = mark
        :: !lost && cache > disk && MAY_FAIL ->
            failed = true; lost = true;
            pending[0] = open[0]; pending[1] = open[1]; pending[2] = open[2]
        fi
    };
    atomic {
        bad = pending[me]; pending[me] = false;
        if
        :: bad -> told = true
        :: else
        fi
    }
}

inline take_gate()
{
#ifndef NO_GATE
    atomic { gate == 0 -> gate = me + 1 }
#else
    skip
#endif
}

inline give_gate() { if :: gate == me + 1 -> gate = 0 :: else fi }

/* From the cache, or, when it is not to be trusted, from the disk after dropping the cache. [O1] */
inline recover()
{
    if
    :: SUSPECT ->
#ifdef WITNESS_DIRTY
        assert(false);
#endif
#ifndef TRUST_CACHE
        atomic { cache = disk; mark = mark_disk; lost = false; pending[me] = false }
#endif
    :: else
    fi;
#ifndef RECOVER_UNGUARDED
    poison = true;              /* stands in the old area until recovery is done */
#endif
    sync();
    assert(bad || cache == disk);
    assert(bad || cache >= acked)
}
