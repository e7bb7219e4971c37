/*
 * open.pml -- gate, alone, join, recovery, clean mark, last close  [O1] [O2] [O3] [Y1]
 *
 * Three handles, one after the other or at the same time, open, perhaps write one record, sync
 * it, and close. Any of them may be killed between any two instructions. One sync may fail: what
 * was in the page cache and not on disk is then clean, and the error is told once to each
 * descriptor, to later ones only while nobody was told. What recovery takes for durable must be
 * on disk, a file whose mark is clean on disk must need no recovery at any moment, and nothing
 * acknowledged is lost.
 *
 * run: ok
 * run: ok NO_ERROR
 * run: caught MARK_LATE          the first modification comes before the clean mark is gone from
 *                                the disk
 * run: caught MARK_FIRST         the last close sets the mark before it syncs
 * run: caught LAST_UNCHECKED     a handle that closes does not look whether others are left
 * run: caught CLOSE_POISONED     the last close sets the mark in spite of poison
 * run: caught REBUILD_FIRST      the area is rebuilt, and poison forgotten, before recovery is done
 * run: caught RECOVER_UNGUARDED  recovery syncs without leaving an intent in the old area
 * run: caught TRUST_CACHE        poison or an intent is found, and the page cache is trusted
 * run: caught NO_GATE            open and close decide without the gate
 * run: caught WITNESS_DIRTY      an opener finds poison or an intent
 */
#define H 3

/* The file: a number in the cache and on disk; what lies above the disk's is dirty, or lost when
 * `clean_lost`.
 */
byte cache, disk;
bool lost;                      /* cache > disk, and the kernel believes that all is written */
bool mark = true, mark_disk = true;
byte acked;                     /* ghost */

/* The coordination area. */
bool instance, poison;
bool intent[H];
byte leader;                    /* one sync lock word for all: handle + 1 */

byte gate;                      /* 0, or handle + 1 */
bool locked[H], killed[H], open[H], pending[H];
bool failed, told;
byte deaths;
#define MAXDEATHS 2

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

/* Sync under the sync lock word, with the intent set; error: poison. A dead owner's intent:
 * poison, the strictest answer.
 */
inline guarded_sync()                                                   /* [Y1] */
{
    atomic { leader == 0 || killed[leader - 1] -> leader = me + 1 };
    intent[me] = true;
    sync();
    if
    :: bad || intent[(me + 1) % H] || intent[(me + 2) % H] -> poison = true
    :: else
    fi;
    intent[me] = false;
    leader = 0
}

/* Rebuilds the area; the instance id comes last. [O1] */
inline rebuild()
{
    atomic { leader = 0; intent[0] = false; intent[1] = false; intent[2] = false };
    poison = false;
    instance = true
}

inline open_file()
{
    atomic { open[me] = true; pending[me] = failed && !told };
    take_gate();
    locked[me] = true;
    if
    :: ALONE ->
        if
        :: mark && !SUSPECT -> assert(cache == disk)
        :: else ->
#ifdef REBUILD_FIRST
            rebuild();
#endif
            recover()
        fi;
        if
        :: bad -> poison = true; bad = false; refused = true
        :: else -> rebuild()
        fi
    :: else -> assert(instance)
    fi;
    if
    :: refused -> atomic { locked[me] = false; open[me] = false; pending[me] = false }
    :: else
    fi;
    give_gate()
}

/* The mark is gone from the disk before anything is modified. [O2] */
inline write_one()
{
    if
    :: !poison ->
#ifndef MARK_LATE
        mark = false;
        guarded_sync();
#endif
        if
        :: !poison ->
            atomic { cache++; mine = cache };
#ifdef MARK_LATE
            mark = false;
#endif
            bad = false;
            guarded_sync();
            if
            :: !bad && !poison ->
                atomic { assert(disk >= mine); acked = (mine > acked -> mine : acked) }
            :: else
            fi
        :: else
        fi
    :: else
    fi;
    atomic { mine = 0; bad = false }
}

/* The last one syncs, sets the mark, zeroes the area. [O3] */
inline close_file()
{
    take_gate();
    if
#ifdef LAST_UNCHECKED
    :: true ->
#else
    :: ALONE ->
#endif
        if
#ifdef CLOSE_POISONED
        :: true ->
#else
        :: !SUSPECT ->
#endif
#ifndef MARK_FIRST
            guarded_sync();
#endif
            if
#ifdef CLOSE_POISONED
            :: true ->
#else
            :: !poison ->
#endif
                mark = true;
                guarded_sync();
                if
                :: !poison -> instance = false
                :: else
                fi
            :: else
            fi
        :: else
        fi
    :: else
    fi;
    atomic { locked[me] = false; open[me] = false; pending[me] = false; bad = false };
    give_gate()
}

proctype handle(byte me)
{
    byte mine;
    bool bad, refused;
    {
        open_file();
        if
        :: refused
        :: !refused && me < 2 -> write_one(); close_file()
        :: !refused -> close_file()
        fi
    } unless { killed[me] }
}

inline die(i)
{
    atomic {
        open[i] && !killed[i] && deaths < MAXDEATHS ->
        deaths++; killed[i] = true; locked[i] = false; open[i] = false; pending[i] = false;
        if :: gate == i + 1 -> gate = 0 :: else fi
    }
}

/* Deaths; writeback by the kernel in any order; and what a power cut at this moment would show.
 * [O2] [O3]
 */
active proctype environment()
{
end:
    do
    :: die(0)
    :: die(1)
    :: die(2)
    :: atomic { mark != mark_disk -> mark_disk = mark; assert(!mark_disk || disk == cache) }
    :: atomic { mark_disk && disk != cache -> assert(false) }
    od
}

init
{
    atomic { run handle(0); run handle(1); run handle(2) }
}
