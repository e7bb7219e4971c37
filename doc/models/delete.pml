/*
 * delete.pml -- deletion of a topic beside its writers  [P5] [L2] [L4] [R2]
 *
 * A topic with one partition and one segment. The deleter appends DELETE under the catalog lock,
 * marks the cell, holds its lock once (quiet), frees the segment, and somebody else's bytes go
 * there. It may die between any two steps; a second handle then goes on, as housekeeping does. Two
 * writers with old pictures append, the one of them in a roll. Writers may be killed too, and one
 * that is inside may simply stop. The catalog lock is taken over by the next one who wants it.
 *
 * run: ok
 * run: ok TOPIC_KEPT                   nobody deletes: both writers come through
 * run: caught FREE_BEFORE_QUIET        the segment is freed when the cell is marked, a writer inside
 * run: caught FREE_BEFORE_MARK         the lock is held once before the cell is marked
 * run: caught NO_MARK_BY_NEXT          who goes on after the deleter's death frees without marking
 * run: caught NO_LOOK_UNDER_LOCK       a writer looks at the state before it has the lock only
 * run: caught NO_LOOK_IN_ROLL          a roll does not look the topic up: the deleter died before it
 *                                      marked the cell
 * run: caught BROKEN_LOCK_SKIPPED      a dead writer's lock is let be, and the topic's space is lost
 * run: caught WITNESS_STOPPED          a stopped writer keeps the space of its topic
 * run: caught WITNESS_ROLL_REFUSED     a roll finds the topic gone although the cell is not marked
 */
#define LIVE    0
#define DELETED 1
#define QUIET   2

#define W0      1       /* owners of locks: the two writers, */
#define W1      2
#define DELETER 3       /* who deletes, */
#define NEXT    4       /* and who goes on for it */

#ifdef TOPIC_KEPT
#define DELETES false
#else
#define DELETES true
#endif

byte catalog, lock;     /* lock words */
bool killed[5];
byte deaths;

bool gone;              /* the catalog's DELETE, stable and visible */
bool freed;             /* its FREE: the blocks are somebody else's */
byte state;             /* of the cell */
bool stopped_inside, done[5];

#define DEAD(w)     (killed[w])
#define FREE_NOW(w) ((w) == 0 || DEAD(w))

/* Taken over from the dead and repaired in one step: lock.pml has the rest. The picture is
 * refreshed under the lock: `gone` may be read there. */
inline lock_catalog() { atomic { FREE_NOW(catalog) -> catalog = me } }
inline unlock_catalog() { atomic { assert(catalog == me); catalog = 0 } }
inline unlock() { atomic { assert(lock == me); lock = 0 } }

/* Stores bytes. It may stop in the middle for ever. */
inline store_bytes(may_stop)
{
    assert(!freed);
    if
    :: skip
    :: may_stop && !stopped_inside -> stopped_inside = true; done[me] = true; goto stopped_here
    fi;
    assert(!freed);
    skip
}

/* Room in the segment: state, frame, under the lock. A dead owner's lock goes through the catalog's.
 */
inline append_one()
{
#ifdef NO_LOOK_UNDER_LOCK
    ok = (state == LIVE);
#endif
    atomic { FREE_NOW(lock) || stopped_inside -> got = FREE_NOW(lock); lock = (got -> me : lock) };
    if
    :: got ->
#ifndef NO_LOOK_UNDER_LOCK
        ok = (state == LIVE);                                           /* [P5] */
#endif
        if
        :: ok -> store_bytes(true)
        :: else
        fi;
        unlock()
    :: else                     /* waits behind the stopped one for ever */
    fi
}

/* No room: catalog, then partition, tried. [L4] */
inline roll_one()
{
    lock_catalog();
    atomic { got = FREE_NOW(lock); lock = (got -> me : lock) };
    if
    :: got ->
#ifndef NO_LOOK_IN_ROLL
        if
        :: gone ->
#ifdef WITNESS_ROLL_REFUSED
            assert(state != LIVE);
#endif
            state = DELETED
        :: else
        fi;
#endif
        if
        :: state == LIVE ->
            assert(!gone);              /* no ADD for a topic that is gone */
            store_bytes(false)          /* seals the segment, writes its index */
        :: else
        fi;
        unlock()
    :: else
    fi;
    unlock_catalog()
}

proctype writer(byte me)
{
    bool ok, got;
    {
        if
        :: me == W0 -> append_one(); append_one()
        :: me == W1 -> roll_one()
        :: me == W1 -> append_one()
        fi;
        done[me] = true;
stopped_here:
        skip
    } unless { killed[me] }
}

/* Holds: catalog. Mark, hold the lock once; when somebody has it, the space is kept for later. */
inline quieten()
{
#ifdef FREE_BEFORE_MARK
    atomic { got = FREE_NOW(lock); lock = (got -> me : lock) };
    if
    :: got -> unlock(); state = QUIET
    :: else
    fi;
#else
    atomic { if :: state == LIVE -> state = DELETED :: else fi };
#ifdef FREE_BEFORE_QUIET
    state = QUIET;
#else
    if
    :: state == DELETED ->
#ifdef BROKEN_LOCK_SKIPPED
        atomic { got = (lock == 0); lock = (got -> me : lock) };
#else
        atomic { got = FREE_NOW(lock); lock = (got -> me : lock) };
#endif
        if
        :: got -> state = QUIET; unlock()
        :: else
        fi
    :: else
    fi
#endif
#endif
}

inline free_segment()
{
    if
    :: state == QUIET -> freed = true
    :: else
    fi
}

proctype deleter(byte me)
{
    bool got;
    {
        lock_catalog();
        gone = true;
        quieten();
        free_segment();
        unlock_catalog();
        done[me] = true
    } unless { killed[me] }
}

/* Housekeeping: it comes when the topic is gone, again and again until the space is free. That it
 * ends up free, unless a writer is stopped inside, is the liveness checked here. */
proctype housekeeper(byte me)
{
    bool got;
    do
    :: freed -> break
    :: gone && !freed ->
        lock_catalog();
        if
        :: freed
        :: else ->
#ifdef NO_MARK_BY_NEXT
            if
            :: killed[DELETER] -> freed = true
            :: else -> quieten(); free_segment()
            fi
#else
            quieten();
            free_segment()
#endif
        fi;
        unlock_catalog();
        if
        :: freed -> break
        :: !freed && stopped_inside && !DEAD(lock) ->
#ifdef WITNESS_STOPPED
            assert(false);
#endif
            break
        :: !freed && FREE_NOW(lock) && lock == 0
#ifndef BROKEN_LOCK_SKIPPED
        :: !freed && DEAD(lock)
#endif
        fi
    :: !DELETES -> break
    od
}

inline die(w, when)
{
    atomic {
        (when) && !killed[w] && !done[w] && deaths < 2 -> killed[w] = true; deaths++
    }
}

active proctype killer()
{
end:
    do
    :: die(W0, true)
    :: die(W1, true)
    :: die(DELETER, gone)
    od
}

init
{
    atomic {
        run writer(W0); run writer(W1);
        if
        :: DELETES -> run deleter(DELETER)
        :: else
        fi;
        run housekeeper(NEXT)
    }
}
