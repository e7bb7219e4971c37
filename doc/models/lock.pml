/*
 * lock.pml -- lock words: death, take-over, repair, slots used again  [L1] [L2] [L3] [L4] [S1] [S2]
 *
 * Two lock words, that of the catalog and that of one partition. Handles append (partition lock)
 * or roll the partition (catalog lock, then partition lock). A handle may be killed between any
 * two instructions. A newcomer claims the slot of a dead one. A wait ends by a wake; only after
 * a death may it also end by time, so without deaths this proves that no wake-up is lost. A wait
 * that never ends is an invalid end state. MAXFAILS: so many repairs or rolls fail half done, and
 * give the word back as a dead owner's. STOPPED: a handle stops with the partition lock in hand,
 * another wants to roll that partition, a third rolls another partition and must come through.
 *
 * run: ok MAXDEATHS=0
 * run: ok MAXDEATHS=0 MAXFAILS=1
 * run: ok MAXDEATHS=1 MAXFAILS=1
 * run: ok MAXDEATHS=2
 * run: ok MAXDEATHS=0 STOPPED
 * run: ok MAXDEATHS=1 STOPPED
 * run: caught MAXDEATHS=0 STOPPED WAIT_WITH_CATALOG
 *                                           who rolls waits for the partition with the catalog lock
 *                                           in hand
 * run: caught MAXDEATHS=1 MAXFAILS=1 REPAIR_FAILED_FREES
 *                                           a repair that failed gives the word back as free
 * run: caught MAXDEATHS=0 MAXFAILS=1 ROLL_FAILED_FREES
 *                                           a roll that failed half done gives the word back as
 *                                           free
 * run: caught MAXDEATHS=0 MAXFAILS=1 BROKEN_WITHOUT_BIT
 *                                           a broken word is given back with the contended bit
 *                                           clear, and whoever takes it over does not know that
 *                                           others are asleep
 * run: caught NO_GENERATION                 a dead owner's slot is used again, and its lock looks
 *                                           held
 * run: caught GENERATION_LATE               a claimed slot is used before its generation was raised
 * run: caught TAKE_BY_STORE                 take-over by a store instead of compare-and-swap
 * run: caught BREAK_BY_TIME                 a stopped owner's lock is broken
 * run: caught NO_REPAIR                     what the dead owner left half done is used
 * run: caught REPAIR_LATE                   a take-over gives the lock to others before it repairs
 * run: caught PARTITION_FIRST               a dead partition lock is taken over without the catalog
 *                                           lock
 * run: caught CATALOG_UNREPAIRED            the catalog lock is taken over, but not repaired,
 *                                           before the partition
 * run: caught MAXDEATHS=0 TAKE_WITHOUT_BIT  who has slept takes the lock with the contended bit
 *                                           clear
 * run: caught MAXDEATHS=0 NO_WAKE           the lock is given back without a look at the bit
 * run: caught WITNESS_ROLL                  a roll that died between catalog and tail is met and
 *                                           finished
 */
#ifndef MAXDEATHS
#define MAXDEATHS 2
#endif
#ifndef MAXFAILS
#define MAXFAILS 0
#endif
#ifndef OPS
#define OPS 1
#endif
#define HANDLES 3       /* 0 and 1 have joined, 2 is a newcomer that needs the slot of a dead one */
#define SLOTS   (2 + (MAXDEATHS == 0))
#define CAT     0
#define PART    1

/* A lock word: generation << 4 | contended << 3 | slot + 1. The low half is what a futex compares. */
#define BIT       8
#define LOW(w)    ((w) & 15)
#define SLOT(w)   (((w) & 7) - 1)
#define GEN(w)    ((w) >> 4)
#define MINE      ((gen[slot] << 4) | (slot + 1))
#define NO_SLOT(w) (((w) & 7) == 7)

#ifdef BROKEN_WITHOUT_BIT
#define NOBODY    7
#else
#define NOBODY    (BIT | 7)
#endif

#ifdef NO_GENERATION
#define DEAD(w)   (NO_SLOT(w) || !locked[SLOT(w)])
#else
#define DEAD(w)   (NO_SLOT(w) || !locked[SLOT(w)] || gen[SLOT(w)] != GEN(w))    /* [S1] */
#endif

bool locked[3];         /* the kernel's lock on a slot's byte */
byte gen[3];
byte word[2];

byte written, visible;  /* catalog: rolls written, rolls published */
byte tail;              /* partition: which segment the tail points to */
bit  front, back;       /* partition: two halves of one change, equal when it is whole */

byte holder[2];         /* ghost: handle + 1 that believes to hold the lock */
byte asleep[HANDLES];   /* lock + 1 that the handle sleeps on */
byte slot_of[HANDLES];
bool halted;
bool killed[HANDLES], joined[HANDLES], finished[HANDLES];
byte deaths, failures;

inline enter(l) { assert(holder[l] == 0); holder[l] = me + 1 }          /* [L1] */
inline leave(l) { assert(holder[l] == me + 1); holder[l] = 0 }

/* Sleeps until the word changes. The bit is set first; the kernel compares the low half once more.
 */
inline wait_for(l)
{
    atomic {
        if
        :: word[l] == w -> word[l] = w | BIT; w = w | BIT
        :: else -> w = 0
        fi
    };
    if
    :: w == 0
    :: else ->
        atomic {
            if
            :: LOW(word[l]) == LOW(w) -> asleep[me] = l + 1
            :: else
            fi
        };
        if
        :: asleep[me] == 0
        :: asleep[me] != 0 && deaths > 0 && (word[l] != w || DEAD(w)) ->
            asleep[me] = 0              /* time-out */
#ifdef STOPPED
        :: asleep[me] == PART + 1 && halted -> goto gone   /* sleeps for ever */
#endif
        fi;
#ifndef TAKE_WITHOUT_BIT
        slept = BIT
#endif
    fi
}

/* Compare-and-swap from the exact word of the dead owner. [L1] */
inline take_over(l)
{
    atomic {
        if
#ifdef TAKE_BY_STORE
        :: true -> word[l] = MINE | (w & BIT); enter(l); got = true
#else
        :: word[l] == w -> word[l] = MINE | (w & BIT); enter(l); got = true
        :: else
#endif
        fi
    }
}

inline wake_one(l)
{
    atomic {
        if
        :: asleep[0] == l + 1 -> asleep[0] = 0
        :: asleep[1] == l + 1 -> asleep[1] = 0
        :: asleep[2] == l + 1 -> asleep[2] = 0
        :: else
        fi
    }
}

inline release(l)
{
    atomic { w = word[l]; word[l] = 0; leave(l) };
#ifndef NO_WAKE
    if
    :: (w & BIT) != 0 -> wake_one(l)
    :: else
    fi;
#endif
    w = 0
}

/* As if the owner had died: the next one has to repair. [L2] */
inline give_back_broken(l, as)
{
    atomic { failures++; word[l] = as; leave(l); got = false };
    wake_one(l)
}

#ifdef REPAIR_FAILED_FREES
#define AFTER_REPAIR 0
#else
#define AFTER_REPAIR NOBODY
#endif
#ifdef ROLL_FAILED_FREES
#define AFTER_ROLL   0
#else
#define AFTER_ROLL   NOBODY
#endif

/* Entries that are intact at the catalog's end are adopted. */
inline repair_catalog()
{
#ifndef CATALOG_UNREPAIRED
    if
    :: visible = written
    :: failures < MAXFAILS -> give_back_broken(CAT, AFTER_REPAIR)
    fi
#else
    skip
#endif
}

/* The catalog says which segment the tail belongs to; then the half change is finished. */
inline repair_partition()
{
#ifdef WITNESS_ROLL
    assert(tail == visible);
#endif
#ifndef NO_REPAIR
    if
    :: tail = visible; back = front
    :: failures < MAXFAILS -> give_back_broken(PART, AFTER_REPAIR)
    fi
#else
    skip
#endif
}

inline lock_catalog()
{
    slept = 0; got = false;
    do
    :: got -> break
    :: atomic { !got && word[CAT] == 0 -> word[CAT] = MINE | slept; enter(CAT); got = true }
    :: atomic { !got && word[CAT] != 0 -> w = word[CAT] };
        if
        :: DEAD(w) -> 
            take_over(CAT);
            if
            :: got -> repair_catalog()                                  /* [L2] */
            :: else
            fi
#ifdef BREAK_BY_TIME
        :: !DEAD(w) -> take_over(CAT)
#endif
        :: !DEAD(w) -> wait_for(CAT)                                    /* [L3] */
        fi
    od;
    w = 0; got = false; slept = 0
}

/* The catalog lock is held: tried, never waited for. [L4] */
inline try_partition()
{
    atomic {
        w = word[PART];
        if
        :: w == 0 -> word[PART] = MINE; enter(PART); got = true
        :: else
        fi
    };
    if
    :: !got && DEAD(w) ->
        take_over(PART);
#ifdef REPAIR_LATE
        if
        :: got -> release(PART); got = false; repair_partition()
        :: else
        fi
#else
        if
        :: got -> repair_partition()                                    /* [L2] */
        :: else
        fi
#endif
    :: else
    fi
}

inline lock_partition()
{
    slept = 0; got = false;
    do
    :: got -> break
    :: atomic { !got && word[PART] == 0 -> word[PART] = MINE | slept; enter(PART); got = true }
    :: atomic { !got && word[PART] != 0 -> w = word[PART] };
        if
        :: DEAD(w) ->
#ifdef PARTITION_FIRST
            take_over(PART);
            if
            :: got -> repair_partition()
            :: else
            fi
#else
            lock_catalog();
            try_partition();
            release(CAT)
#endif
        :: !DEAD(w) -> wait_for(PART)                                   /* [L3] */
        fi
    od;
    w = 0; got = false; slept = 0
}

inline append()
{
    lock_partition();
    assert(front == back);
    assert(tail == written && tail == visible);     /* never into a sealed segment */
    front = 1 - front;
    back = front;
    release(PART)
}

/* Both locks are held. SEAL and ADD are one batch. */
inline roll_locked()
{
    assert(front == back && tail == visible);
    written = written + 1;
    if
    :: visible = written; tail = visible; release(PART)
    :: failures < MAXFAILS -> visible = written; give_back_broken(PART, AFTER_ROLL)
    fi;
    got = false;
    release(CAT)
}

inline roll()
{
    do
    :: true ->
        lock_catalog();
        assert(visible == written);
        try_partition();
#ifdef WAIT_WITH_CATALOG
        do
        :: got -> break
        :: !got && word[PART] != 0 -> w = word[PART]; wait_for(PART)
        :: !got && word[PART] == 0 -> try_partition()
        od;
#endif
        if
        :: got -> roll_locked(); break
        :: !got -> release(CAT); lock_partition(); release(PART)
        fi
    od
}

/* Another partition, which nobody else has. */
inline roll_other() { lock_catalog(); release(CAT) }

/* [S2]: lock the byte, clear the residue (pin.pml), raise the generation, use. Under the gate. */
inline claim()
{
    skip;
end_no_slot:
    atomic {
        if
        :: !locked[0] -> slot = 0
        :: !locked[1] -> slot = 1
        :: SLOTS == 3 -> slot = 2
        fi;
        locked[slot] = true; slot_of[me] = slot; joined[me] = true
    };
#ifndef GENERATION_LATE
    gen[slot] = gen[slot] + 1
#endif
}

proctype handle(byte me)
{
    byte w, slot, ops;
    byte slept;
    bool got;
    {
        if
        :: me < 2 -> slot = me
        :: else -> claim()
        fi;
#ifdef STOPPED
        if
        :: me == 0 -> roll()
        :: me == 1 -> roll_other()
        :: me == 2 -> lock_partition(); halted = true
        fi;
gone:
#else
        do
        :: ops < OPS -> append(); ops++
        :: ops < OPS && written < 2 -> roll(); ops++
        :: ops == OPS -> break
        od;
#endif
        finished[me] = true
    } unless { killed[me] }
}

/* Death is an instant: the kernel drops the byte's lock, and the handle runs no more. */
inline die(h)
{
    atomic {
        joined[h] && !killed[h] && !finished[h] && deaths < MAXDEATHS ->
        killed[h] = true; deaths++; asleep[h] = 0; locked[slot_of[h]] = false;
        if :: holder[CAT] == h + 1 -> holder[CAT] = 0 :: else fi;
        if :: holder[PART] == h + 1 -> holder[PART] = 0 :: else fi
    }
}

active proctype killer()
{
end:
    do
    :: die(0)
    :: die(1)
    :: die(2)
    od
}

init
{
    atomic {
        locked[0] = true; locked[1] = true; gen[0] = 1; gen[1] = 1;
        slot_of[1] = 1; joined[0] = true; joined[1] = true;
        run handle(0); run handle(1); run handle(2)
    }
}
