/*
 * sync.pml -- sync, intent, poison, group commit  [Y1] [Y2] [Y3] [Y4] [P3]
 *
 * Handles 0 and 1 have joined, 2 is a newcomer (OLD=1: 1 and 2 are). Each appends one record and
 * wants it acknowledged. SECOND_THREAD: no newcomer, handle 0 has a second thread that syncs too.
 * TWICE: handle 0 only syncs, twice, for something else. One writeback fails: its pages become
 * clean without being on disk, and the error is told once to each descriptor that was open then,
 * and to later ones only as long as nobody was told. Handles may be killed between any two
 * instructions. A record that is acknowledged must be on disk, with all before it, and visible.
 *
 * run: ok
 * run: ok SECOND_THREAD
 * run: ok TWICE
 * run: ok TWICE IDLE                        who could settle is alive and makes no call: nobody waits
 *                                           for it
 * run: ok SECOND_THREAD PASS                whoever waits may sync for himself, as when the leader is
 *                                           stopped
 * run: caught TWICE NO_REWRITE              a newcomer ignores intents
 * run: caught TWICE DEAD_INTENTS_ONLY       a newcomer ignores the intent of a live handle that was
 *                                           stopped before it poisoned
 * run: caught TWICE REWRITE_LATE            bytes are written again after the sync
 * run: caught TWICE POISON_BEFORE_INTENTS   poison is read, then the intents: the owner poisons and
 *                                           clears in between
 * run: caught NO_POISON_RECHECK             poison is read before the append only
 * run: caught TWICE INTENT_CLEARED_FIRST    the intent is cleared, then the poison set
 * run: caught TWICE NO_INTENT               no intent is set
 * run: caught SECOND_THREAD NO_MUTEX        a second thread of the handle eats the error
 * run: caught PUBLISH_BEFORE_SYNC           the end is read after the sync
 * run: caught LAST_SEGMENT_ONLY             only the segment of the tail is synced
 * run: caught TWICE SETTLE_BY_NEWCOMER      a handle that joined after the intent settles it
 * run: caught TWICE SETTLE_DEAD_CHECK_LATE  the owner is found dead after the settling sync: it may
 *                                           have synced once more
 * run: caught TWICE CLAIM_WITH_INTENT       a newcomer claims the slot of a dead owner and clears
 *                                           its intent
 * run: caught STABLE_FIRST                  `stable` is raised before `visible`: acknowledged, but
 *                                           not yet to be read
 * run: caught WITNESS_SETTLED               an intent is settled without an error
 * run: caught WITNESS_FOLLOWER              a record is acknowledged by the sync of another handle
 * run: caught TWICE WITNESS_REWRITTEN       an intent holds back a newcomer, which writes again
 */
#define HANDLES   3
#ifndef OLD
#define OLD       2     /* handles that have joined at the start */
#endif
#ifndef MAXDEATHS
#define MAXDEATHS 1
#endif

byte next;              /* tail: records written */
byte dirty, disk;       /* a bit for each record */
byte stable, visible;
bool poison;
byte sync_owner;        /* the sync lock word: handle + 1 */

byte seq;               /* joins so far */
byte join[HANDLES];
byte intent[HANDLES];   /* 0 = none, else `seq` of the moment it was set */
bool mutex[HANDLES];
bool alive[HANDLES], killed[HANDLES];
byte deaths;

/* The kernel's side: one error, told once to each descriptor. */
bool failed, told;
bool pending[HANDLES], open[HANDLES];

#define ALL_BELOW(n)  ((1 << (n)) - 1)

/* Intents that are older than this handle. [Y3] */
#ifdef DEAD_INTENTS_ONLY
#define BLOCKS(i)     (intent[i] != 0 && intent[i] < join[h] && !alive[i])
#else
#define BLOCKS(i)     (intent[i] != 0 && intent[i] < join[h])
#endif
#ifdef NO_REWRITE
#define BLOCKED       false
#else
#define BLOCKED       (BLOCKS(0) || BLOCKS(1) || BLOCKS(2))
#endif

#define DEAD_INTENT(i) (intent[i] != 0 && !alive[i])
#ifdef SETTLE_DEAD_CHECK_LATE
#define SETTLABLE(i)  (intent[i] != 0 && i != h)
#else
#define SETTLABLE(i)  DEAD_INTENT(i)
#endif
#ifdef SETTLE_BY_NEWCOMER
#define ELIGIBLE(i)   true
#else
#define ELIGIBLE(i)   (join[h] <= intent[i])
#endif

inline fail()
{
    failed = true;
    pending[0] = open[0]; pending[1] = open[1]; pending[2] = open[2]
}

/* The bits in `range` are written, or fail together. Then the descriptor is asked for errors. */
inline sync(range)
{
    atomic {
        if
        :: true -> disk = disk | (dirty & (range)); dirty = dirty & ~(range)
        :: (dirty & (range)) != 0 && !failed -> fail(); dirty = dirty & ~(range)
        fi
    };
    atomic {
        bad = pending[h]; pending[h] = false;
        if
        :: bad -> told = true
        :: else
        fi
    }
}

inline begin_sync()                                                     /* [Y1] */
{
#ifdef NO_MUTEX
    skip;
#else
    atomic { !mutex[h] -> mutex[h] = true };
#endif
#ifndef NO_INTENT
    intent[h] = seq
#endif
}

inline end_sync() { atomic { intent[h] = 0; mutex[h] = false } }

inline poison_and_end()
{
#ifdef INTENT_CLEARED_FIRST
    intent[h] = 0;
    atomic { poison = true; mutex[h] = false }
#else
    poison = true;
    end_sync()
#endif
}

/* While an older intent stands, what others wrote is written again, under the partition's lock.
 * [Y3] */
inline write_again()
{
    atomic {
        if
        :: BLOCKED ->
#ifdef WITNESS_REWRITTEN
            assert(false);
#endif
            dirty = dirty | (ALL_BELOW(next) & ~ALL_BELOW(stable))
        :: else
        fi;
        end = next              /* the tail, read without the partition lock: commit.pml */
    }
}

inline publish()
{
#ifdef STABLE_FIRST
    atomic { stable = (stable > end -> stable : end) };
    atomic { visible = (visible > end -> visible : end) }
#else
    atomic { visible = (visible > end -> visible : end) };
    atomic {
        stable = (stable > end -> stable : end);
        assert((disk & ALL_BELOW(stable)) == ALL_BELOW(stable))         /* [P3] */
    }
#endif
}

inline sync_now()
{
#ifdef POISON_BEFORE_INTENTS
    ok = !poison;
#endif
#ifdef REWRITE_LATE
    end = next;
#else
    write_again();
#endif
    begin_sync();
#ifdef LAST_SEGMENT_ONLY
    sync(1 << (end - 1));
#else
    sync(ALL_BELOW(end) & ~ALL_BELOW(stable));
#endif
#ifdef REWRITE_LATE
    write_again();
#endif
#ifdef PUBLISH_BEFORE_SYNC
    end = next;
#endif
    if
    :: bad -> bad = false; poison_and_end()
    :: else ->
#if !defined(POISON_BEFORE_INTENTS) && !defined(NO_POISON_RECHECK)
        ok = !poison;                                                   /* [Y4] */
#endif
#ifdef NO_POISON_RECHECK
        ok = true;
#endif
        if
        :: ok -> ok = false; publish()
        :: else
        fi;
        end_sync()
    fi;
    end = 0
}

/* Once more through a descriptor that would still be told. [Y2] */
inline settle(i)
{
    begin_sync();
    sync(ALL_BELOW(next));
    if
    :: bad -> bad = false; poison_and_end()
    :: else ->
        atomic {
            if
            :: intent[i] == seen && !alive[i] ->
                intent[i] = 0;
#ifdef WITNESS_SETTLED
                assert(false)
#endif
            :: else
            fi
        };
        end_sync()
    fi;
    atomic { seen = 0; end = 0 }
}

#define CAN_SETTLE(i)  (i != h && SETTLABLE(i) && ELIGIBLE(i))

inline append_one()
{
    atomic { id = next; next++; dirty = dirty | (1 << id) };
    do
    :: poison -> break
    :: atomic {
           stable > id ->
           assert((disk & ALL_BELOW(id + 1)) == ALL_BELOW(id + 1));
           assert(visible > id);
#ifdef WITNESS_FOLLOWER
           assert(led);
#endif
           break
       }
    :: atomic {
           stable <= id && (sync_owner == 0 || !alive[sync_owner - 1]) ->
           sync_owner = h + 1;
#ifdef WITNESS_FOLLOWER
           led = true
#endif
       };
       sync_now();
       sync_owner = 0                   /* given back before anybody is woken: commit.pml */
#ifdef PASS
    :: atomic { stable <= id && sync_owner != 0 && !passed -> passed = true }; sync_now()
#endif
    :: atomic { CAN_SETTLE(0) -> seen = intent[0] }; settle(0)
    :: atomic { CAN_SETTLE(1) -> seen = intent[1] }; settle(1)
    od;
    id = 0
}

/* Closes. A handle that stays open and makes no call (IDLE) settles nothing. */
inline leave()
{
#if defined(IDLE) || defined(SECOND_THREAD)
    skip
#else
    atomic { alive[h] = false; open[h] = false; pending[h] = false }
#endif
}

/* The descriptor is opened before the handle joins. Alone it would recover instead: not in this
 * model.
 */
inline join_late()
{
    skip;
end_nobody:
    atomic {
        alive[0] || (OLD == 2 && alive[1]) || (OLD == 1 && (alive[1] || alive[2])) ->
        open[h] = true;
        pending[h] = failed && !told
    };
    atomic { seq++; join[h] = seq; alive[h] = true };
#ifdef CLAIM_WITH_INTENT
    if
    :: !alive[0] -> intent[0] = 0
    :: alive[0]
    fi
#endif
}

proctype appender(byte h)
{
    byte id, seen, end;
    bool bad, ok;
#ifdef PASS
    bool passed;
#endif
#ifdef WITNESS_FOLLOWER
    bool led;
#endif
    {
        if
        :: h >= OLD -> join_late()
        :: else
        fi;
        if
        :: poison
        :: else -> append_one()
        fi;
        leave()
    } unless { killed[h] }
}

/* Syncs in a way that the partition's sync lock word knows nothing of, `times` times; before the
 * last it appends.
 */
proctype other_sync(byte h; byte times)
{
    byte end;
    bool bad;
    {
        do
        :: times > 0 ->
            atomic {
                if
                :: times == 1 -> dirty = dirty | (1 << next); next++
                :: else
                fi
            };
            begin_sync();
            sync(ALL_BELOW(next));
            end = 0;
            if
            :: bad -> poison_and_end(); break
            :: else -> end_sync(); times--
            fi
        :: times == 0 -> break
        od;
        leave()
    } unless { killed[h] }
}

inline die(i)
{
    atomic {
        alive[i] && deaths < MAXDEATHS ->
        deaths++; killed[i] = true; alive[i] = false; open[i] = false; pending[i] = false
    }
}

active proctype environment()
{
end:
    do
    :: die(0)
    :: die(1)
    :: die(2)
    :: atomic { dirty != 0 && !failed -> fail(); dirty = 0 }    /* writeback by the kernel itself */
    od
}

init
{
    atomic {
        alive[0] = true; open[0] = true; join[0] = 1; seq = 1;
        if
        :: OLD == 2 -> alive[1] = true; open[1] = true; join[1] = 2; seq = 2
        :: else
        fi;
#ifdef TWICE
        run other_sync(0, 2); run appender(1); run appender(2)
#else
        run appender(0); run appender(1);
#ifdef SECOND_THREAD
        run other_sync(0, 1)
#else
        run appender(2)
#endif
#endif
    }
}
