/*
 * commit.pml -- group commit: leader, bell, late ones, the tail read without the lock
 *               [P1] [P2] [P3] [W1]
 *
 * Writers append one record each and want it stable. One of those waiting takes the sync word,
 * reads the tail without the partition lock, syncs up to it, raises `visible` and `stable`, gives
 * the word back and wakes all. The others sleep on a bell, and only while the word is held. The
 * time-out of 100 ms does not exist here, unless somebody died or was stopped: so no wake-up is
 * lost. No sync fails (sync.pml). STOPPED: a leader may stop in its sync for ever; after a while
 * the others sync for themselves.
 *
 * run: ok
 * run: ok MAXDEATHS=1
 * run: ok STOPPED
 * run: caught WAKE_BEFORE_UNLOCK             the leader wakes, then gives the word back: a sleeper
 *                                            comes after the wake and finds the word held
 * run: caught SLEEP_WITHOUT_LOOKING_AT_WORD  a writer that comes after the wake sleeps though nobody
 *                                            syncs
 * run: caught BELL_NOT_RAISED                the bell is not counted up: a writer falls asleep after
 *                                            its flag was taken
 * run: caught BELL_READ_LATE                 the bell is read after the words it stands for
 * run: caught STOPPED NOBODY_PASSES          nobody passes a stopped leader
 * run: caught STOPPED PLAIN_STORE            `stable` is stored, not raised: a late one had got
 *                                            further
 * run: caught FLIP_NOT_READ_AGAIN            the copy of the tail is torn: position of one append,
 *                                            offset of another
 * run: caught WITNESS_FOLLOWER               a record is acknowledged by another's sync
 * run: caught MAXDEATHS=1 WITNESS_DEAD_LEADER  the sync word is taken over from a dead leader
 * run: caught STOPPED WITNESS_PASSED         a stopped leader is passed
 */
#ifndef MAXDEATHS
#define MAXDEATHS 0
#endif
#define WRITERS 3

byte lock;                      /* of the partition, abstract */
byte flip, position[2], next[2];    /* the tail: two copies, each written in two steps */
byte visible, stable;
byte word;                      /* the sync word: writer + 1 */
bool flag;                      /* stable_waiters */
byte bell;
bool asleep[WRITERS], killed[WRITERS], finished[WRITERS];
byte on_disk;                   /* records */
byte deaths;
bool halted;

/* Position and next offset of the tail; a record has one byte here. */
inline append()
{
    atomic { lock == 0 || killed[lock - 1] -> lock = me + 1 };
    t = next[flip & 1];
    position[(flip + 1) & 1] = t + 1;
    next[(flip + 1) & 1] = t + 1;
    flip = flip + 1;                                                    /* [P1] */
    lock = 0;
    target = t + 1; t = 0
}

inline snapshot()
{
    do
    :: f = flip;
        to = position[f & 1];
        end = next[f & 1];
#ifdef FLIP_NOT_READ_AGAIN
        break
#else
        if
        :: f == flip -> break
        :: else
        fi
#endif
    od;
    f = 0;
    assert(to == end)
}

inline raise(w)
{
#ifdef PLAIN_STORE
    w = end
#else
    atomic { w = (w > end -> w : end) }
#endif
}

inline sync_now()
{
    snapshot();
#ifdef STOPPED
    if
    :: true
    :: !halted && leader -> halted = true; goto stopped_here    /* the word stays taken */
    fi;
#endif
    atomic { on_disk = (on_disk > to -> on_disk : to) };
    atomic { old = stable };
    raise(visible);
    raise(stable);                                                      /* [P3] */
    assert(stable <= on_disk && stable <= visible && stable >= old);
    to = 0; end = 0; old = 0
}

inline wake()
{
    if
    :: flag ->
        atomic { taken = flag; flag = false };
        if
        :: taken ->
#ifndef BELL_NOT_RAISED
            bell = bell + 1;
#endif
            atomic { asleep[0] = false; asleep[1] = false; asleep[2] = false; taken = false }
        :: else
        fi
    :: else
    fi
}

#ifdef SLEEP_WITHOUT_LOOKING_AT_WORD
#define HELD    true
#else
#define HELD    (word != 0)
#endif

#if defined(STOPPED) && !defined(NOBODY_PASSES)
#define LATE halted
#else
#define LATE false
#endif

/* [W1], for `stable`. The kernel compares the bell once more. */
inline wait_stable()
{
#ifndef BELL_READ_LATE
    b = bell;
#endif
    flag = true;
    if
    :: stable < target ->
        if
        :: HELD ->
#ifdef BELL_READ_LATE
            b = bell;
#endif
            atomic {
                if
                :: bell == b -> asleep[me] = true
                :: else
                fi
            };
            if
            :: !asleep[me]
            :: asleep[me] && (deaths > 0 || LATE) -> asleep[me] = false   /* time-out */
            fi
        :: else
        fi
    :: else
    fi;
    b = 0
}

inline commit()
{
    do
    :: stable >= target -> break
    :: stable < target ->
        atomic {
            if
            :: word == 0 -> word = me + 1; leader = true
            :: word != 0 && killed[word - 1] ->
#ifdef WITNESS_DEAD_LEADER
                assert(false);
#endif
                word = me + 1; leader = true
            :: else
            fi
        };
        if
        :: leader ->
            led = true;
            sync_now();
#ifdef WAKE_BEFORE_UNLOCK
            wake();
            word = 0;
#else
            word = 0;
            wake();
#endif
            leader = false
        :: !leader && LATE ->
#ifdef WITNESS_PASSED
            assert(false);
#endif
            led = true; sync_now(); wake()
        :: !leader -> wait_stable()
        fi
    od;
#ifdef WITNESS_FOLLOWER
    assert(led);
#endif
    assert(visible >= target && on_disk >= target)                      /* [P2] */
}

proctype writer(byte me)
{
    byte t, target, f, to, end, old, b;
    bool leader, taken, led;
    {
        append();
        commit();
stopped_here:
        finished[me] = true
    } unless { killed[me] }
}

inline die(w)
{
    atomic {
        !killed[w] && !finished[w] && deaths < MAXDEATHS ->
        killed[w] = true; deaths++; asleep[w] = false
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
    atomic { run writer(0); run writer(1); run writer(2) }
}
