/*
 * sync.pml -- sync, intent, poison, group commit  [Y1] [Y2] [Y3] [Y4] [P3]
 *
 * Handles 0 and 1 have joined, 2 is a newcomer. Each appends one record and wants it acknowledged; handle 0 has a second
 * thread that syncs something else. One writeback fails: its pages become clean without being on disk, and the error
 * is told once to each descriptor that was open then, and to later ones only as long as nobody was told. Handles
 * may be killed between any two instructions. A record that is acknowledged must be on disk, with all before it.
 *
 * run: ok
 * run: ok TWO_NEWCOMERS
 * run: caught NEWCOMER_PUBLISHES     a newcomer ignores intents
 * run: caught DEAD_INTENTS_ONLY      a newcomer ignores the intent of a live handle that was stopped before it poisoned
 * run: caught POISON_BEFORE_INTENTS  poison is read, then the intents: the owner poisons and clears in between
 * run: caught NO_POISON_RECHECK      poison is read before the append only
 * run: caught INTENT_CLEARED_FIRST   the intent is cleared, then the poison set
 * run: caught NO_INTENT              no intent is set
 * run: caught NO_MUTEX               a second thread of the handle eats the error
 * run: caught PUBLISH_BEFORE_SYNC    the end is read after the sync
 * run: caught LAST_SEGMENT_ONLY      only the segment of the tail is synced
 * run: caught SETTLE_BY_NEWCOMER     a handle that joined after the intent settles it
 * run: caught SETTLE_DEAD_CHECK_LATE the owner is found dead after the settling sync: it may have synced once more
 * run: caught CLAIM_WITH_INTENT      a newcomer claims the slot of a dead owner and clears its intent
 * run: caught NO_ELIGIBLE_NO_POISON  a dead intent that nobody can settle is left: the newcomer waits for ever
 * run: caught STABLE_FIRST           `stable` is raised before `visible`: acknowledged, but not yet to be read
 * run: caught WITNESS_SETTLED        an intent is settled without an error
 * run: caught WITNESS_FOLLOWER       a record is acknowledged by the sync of another handle
 */
#ifdef TWO_NEWCOMERS
#define HANDLES  3
#define OLD      1      /* handles that have joined at the start */
#else
#define HANDLES  3
#define OLD      2
#endif
#define MAXDEATHS 2

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
#ifdef NEWCOMER_PUBLISHES
#define BLOCKED       false
#else
#define BLOCKED       (BLOCKS(0) || BLOCKS(1) || BLOCKS(2))
#endif

#define JOINED_BEFORE(j, i)  (alive[j] && join[j] <= intent[i])
#define NOBODY(i)     (!JOINED_BEFORE(0, i) && !JOINED_BEFORE(1, i) && !JOINED_BEFORE(2, i))
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
#ifndef NO_MUTEX
    atomic { !mutex[h] -> mutex[h] = true };
#endif
#ifndef NO_INTENT
    mark = seq;
    intent[h] = mark;
    mark = 0
#else
    skip
#endif
}

inline end_sync()
{
    intent[h] = 0;
    mutex[h] = false
}

inline poison_and_end()
{
#ifdef INTENT_CLEARED_FIRST
    intent[h] = 0;
    poison = true;
    mutex[h] = false
#else
    poison = true;
    end_sync()
#endif
}

/* May the leader publish? Intents first, then poison. [Y3] [Y4] */
inline may_publish()
{
#ifdef POISON_BEFORE_INTENTS
    ok = !poison;
    ok = ok && !BLOCKED
#else
    ok = !BLOCKED;
#ifndef NO_POISON_RECHECK
    ok = ok && !poison
#endif
#endif
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

inline lead()
{
    begin_sync();
#ifdef PUBLISH_BEFORE_SYNC
    sync(ALL_BELOW(next) & ~ALL_BELOW(stable));
    end = next;
#else
    end = next;
#ifdef LAST_SEGMENT_ONLY
    sync(1 << (end - 1));
#else
    sync(ALL_BELOW(end) & ~ALL_BELOW(stable));
#endif
#endif
    if
    :: bad -> bad = false; poison_and_end()
    :: else ->
        may_publish();
        if
        :: ok -> ok = false; publish()
        :: else
        fi;
        end_sync()
    fi;
    end = 0;
    sync_owner = 0
}

/* Once more through a descriptor that would still be told. [Y2] */
inline settle(i)
{
    mark = intent[i];
    if
    :: mark != 0 ->
        seen = mark;
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
        seen = 0
    :: else
    fi;
    mark = 0
}

#ifdef NO_ELIGIBLE_NO_POISON
#define WORK(i) (i != h && SETTLABLE(i) && ELIGIBLE(i))
#else
#define WORK(i) (i != h && ((SETTLABLE(i) && ELIGIBLE(i)) || (DEAD_INTENT(i) && NOBODY(i))))
#endif

/* Between the choice and the act somebody else may have settled it. */
inline look_after_other()
{
    if
    :: WORK(other) -> 
        if
        :: SETTLABLE(other) && ELIGIBLE(other) -> settle(other)
        :: else -> poison = true
        fi
    :: else
    fi;
    other = 0
}

inline append_one()
{
    atomic { id = next; next++; dirty = dirty | (1 << id) };
    do
    :: poison -> break
    :: stable > id ->
        assert((disk & ALL_BELOW(id + 1)) == ALL_BELOW(id + 1));
        assert(visible > id);
#ifdef WITNESS_FOLLOWER
        assert(led);
#endif
        break
    :: atomic {
           stable <= id && !BLOCKED && (sync_owner == 0 || !alive[sync_owner - 1]) ->
           sync_owner = h + 1
       };
       led = true;
       lead()
    :: atomic { WORK(0) -> other = 0 }; look_after_other()
    :: atomic { WORK(1) -> other = 1 }; look_after_other()
    :: atomic { WORK(2) -> other = 2 }; look_after_other()
    od
}

/* The descriptor is opened before the handle joins. Alone it would recover instead: not in this model. */
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
    byte id, mark, seen, end, other;
    bool bad, ok, led;
    {
        if
        :: h >= OLD -> join_late()
        :: else
        fi;
        if
        :: poison
        :: else -> append_one()
        fi
    } unless { killed[h] }
}

proctype second_thread(byte h)
{
    byte mark;
    bool bad;
    {
        begin_sync();
        sync(128);
        if
        :: bad -> poison_and_end()
        :: else -> end_sync()
        fi
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
        run appender(0); run appender(1); run appender(2); run second_thread(0)
    }
}
