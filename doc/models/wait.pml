/*
 * wait.pml -- waiting for records: flag, fence, sleep; several partitions and the bell  [W1] [W2]
 *
 * Two partitions; one publisher each raises `visible` several times. One waiter wants partition
 * 0; another wants both, by the header's bell or by futex_waitv. No wait ends by time here: a
 * lost wake-up is a waiter that sleeps for ever, an invalid end state. A store goes through the
 * store buffer of its process, and so does the or-ing of a bit into a flag by a waiter (a
 * processor may delay it behind a later load). The publisher's exchange acts at once on memory
 * and does not drain the buffer: weaker than x86, as a relaxed exchange may be.
 *
 * The word slept on must change whenever a flag is taken: a cell has a bell of its own. Sleeping
 * on `visible` itself (SLEEP_ON_VISIBLE) loses wake-ups: the publisher raises to 1; the waiter
 * reads 1, sets the flag, loads 1 again; the publisher takes the flag and wakes nobody; the
 * waiter sleeps, as `visible` still is 1; the publisher raises to 2, finds no flag, and wakes
 * nobody.
 *
 * run: ok
 * run: ok SECOND_WAITER
 * run: ok BOTH
 * run: caught SLEEP_ON_VISIBLE        the word slept on does not change when the flag is taken
 * run: caught SLEEP_ON_VISIBLE BOTH
 * run: caught NO_FENCE_WAITER         `visible` is loaded before the flag can be seen
 * run: caught NO_FENCE_PUBLISHER      the flag is taken before `visible` can be seen
 * run: caught NO_RELOAD               the waiter does not load `visible` again after setting the
 *                                     flag
 * run: caught NO_COMPARE              the kernel does not compare the word when it goes to sleep
 * run: caught FLAG_FIRST              the publisher takes the flag, then raises `visible`
 * run: caught FLAG_STORED             a waiter stores its bit instead of or-ing it: bit 2 of
 *                                     another is lost
 * run: caught WAKE_ONE SECOND_WAITER  one waiter is woken instead of all
 * run: caught BELL_READ_LATE          the bell is read after `visible`
 * run: caught BELL_NOT_RAISED         sleepers are woken, but the bell is not raised
 * run: caught ONE_FLAG                the waiter on the header's bell sets its bit in one flag only
 * run: caught WITNESS_SLEPT           a waiter really sleeps
 */
#define RAISES 2            /* times that each partition's `visible` is raised */
#define W      3            /* waiters */

byte visible[2];
byte flag[2];               /* bit 1: somebody waits on the cell's bell; bit 2: on the header's */
byte bell[3];               /* of the cells 0 and 1; 2 = of the header */
byte asleep[W];             /* on which bells: bits 1, 2 and 4 */

/* Store buffers: publishers' `visible`, waiters' or-ing of a bit into two flags. */
bool held[2];
byte held_bits[6];          /* waiter * 2 + partition */

#ifdef FLAG_STORED
#define APPLY(p, bits)  flag[p] = bits
#else
#define APPLY(p, bits)  flag[p] = flag[p] | bits
#endif
inline drain(w, p)
{
    atomic { held_bits[w * 2 + p] != 0 -> APPLY(p, held_bits[w * 2 + p]); held_bits[w * 2 + p] = 0 }
}

active proctype buffers()
{
end:
    do
    :: atomic { held[0] -> held[0] = false; visible[0]++ }
    :: atomic { held[1] -> held[1] = false; visible[1]++ }
    :: drain(0, 0)
    :: drain(0, 1)
    :: drain(1, 0)
    :: drain(1, 1)
    :: drain(2, 0)
    :: drain(2, 1)
    od
}

/* Publisher: raise, fence, take the flag, wake. [W1] */
inline raise()
{
    atomic { !held[p] -> held[p] = true };
#ifndef NO_FENCE_PUBLISHER
    atomic { if :: held[p] -> held[p] = false; visible[p]++ :: else fi }
#endif
}

inline wake()
{
    atomic { bits = flag[p]; flag[p] = 0 };
    if
    :: (bits & 1) != 0 ->
#ifndef BELL_NOT_RAISED
        bell[p]++;
#endif
        atomic {
#ifdef WAKE_ONE
            if
            :: (asleep[0] & (1 << p)) != 0 -> asleep[0] = 0
            :: (asleep[1] & (1 << p)) != 0 -> asleep[1] = 0
            :: (asleep[2] & (1 << p)) != 0 -> asleep[2] = 0
            :: else
            fi
#else
            if :: (asleep[0] & (1 << p)) != 0 -> asleep[0] = 0 :: else fi;
            if :: (asleep[1] & (1 << p)) != 0 -> asleep[1] = 0 :: else fi;
            if :: (asleep[2] & (1 << p)) != 0 -> asleep[2] = 0 :: else fi
#endif
        }
    :: else
    fi;
    if
    :: (bits & 2) != 0 ->                                               /* [W2] */
#ifndef BELL_NOT_RAISED
        bell[2]++;
#endif
        atomic {
            if :: (asleep[0] & 4) != 0 -> asleep[0] = 0 :: else fi;
            if :: (asleep[1] & 4) != 0 -> asleep[1] = 0 :: else fi;
            if :: (asleep[2] & 4) != 0 -> asleep[2] = 0 :: else fi
        }
    :: else
    fi;
    bits = 0
}

proctype publisher(byte p)
{
    byte bits, n;
    do
    :: n < RAISES ->
#ifdef FLAG_FIRST
        wake();
        raise();
#else
        raise();
        wake();
#endif
        n++
    :: else -> break
    od
}

inline set_bit(p, value)
{
    atomic { held_bits[me * 2 + p] == 0 -> held_bits[me * 2 + p] = value }
}

inline drain_now(p)
{
    if
    :: held_bits[me * 2 + p] != 0 ->
        APPLY(p, held_bits[me * 2 + p]);
        held_bits[me * 2 + p] = 0
    :: else
    fi
}

inline fence()
{
#ifdef NO_FENCE_WAITER
    skip
#else
    atomic {
        drain_now(0);
        drain_now(1)
    }
#endif
}

inline sleep_until_woken()
{
#ifdef WITNESS_SLEPT
    assert(asleep[me] == 0);
#endif
    asleep[me] == 0
}

#ifdef NO_RELOAD
#define STILL(p, v)  true
#else
#define STILL(p, v)  (visible[p] == v)
#endif
/* The kernel's compare. With SLEEP_ON_VISIBLE the word is `visible` itself. */
#ifdef NO_COMPARE
#define SAME(p, rung, v)  true
#else
#ifdef SLEEP_ON_VISIBLE
#define SAME(p, rung, v)  (visible[p] == v)
#else
#define SAME(p, rung, v)  (bell[p] == rung)
#endif
#endif
#ifdef BELL_READ_LATE
#define EARLY(x)
#define LATE(x)   x;
#else
#define EARLY(x)  x;
#define LATE(x)
#endif

/* Read the bell, set the flag, fence, load `visible`, sleep on the bell. Wants all that p will
 * ever have. [W1]
 */
proctype waiter(byte me; byte p)
{
    byte seen, rung;
    do
    :: seen == RAISES -> break
    :: seen < RAISES ->
        EARLY(rung = bell[p])
        set_bit(p, 1);
        fence();
        if
        :: STILL(p, seen) ->
            LATE(rung = bell[p])
            atomic { if :: SAME(p, rung, seen) -> asleep[me] = 1 << p :: else fi };
            sleep_until_woken()
        :: else
        fi;
        rung = 0;
        seen = visible[p]
    od
}

/* The same for two partitions: on both cells' bells with futex_waitv, or on the header's. [W2] */
#ifdef BOTH
#define BIT_SET        1
#define READ_BELLS     rung = bell[0]; rung1 = bell[1]
#define UNCHANGED      (SAME(0, rung, a) && SAME(1, rung1, b))
#define SLEEP_BITS     3
#else
#define BIT_SET        2
#define READ_BELLS     rung = bell[2]
#define UNCHANGED      (bell[2] == rung)
#define SLEEP_BITS     4
#endif

proctype waiter_on_two(byte me)
{
    byte a, b, rung, rung1;
    do
    :: a == RAISES && b == RAISES -> break
    :: else ->
        EARLY(READ_BELLS)
        set_bit(0, BIT_SET);
#ifndef ONE_FLAG
        set_bit(1, BIT_SET);
#endif
        fence();
        if
        :: STILL(0, a) ->
            if
            :: STILL(1, b) ->
                LATE(READ_BELLS)
                atomic { if :: UNCHANGED -> asleep[me] = SLEEP_BITS :: else fi };
                sleep_until_woken()
            :: else
            fi
        :: else
        fi;
        rung = 0; rung1 = 0;
        a = visible[0];
        b = visible[1]
    od
}

init
{
    atomic {
        run publisher(0); run publisher(1);
        run waiter(0, 0);
#ifdef SECOND_WAITER
        run waiter(1, 0)
#else
        run waiter_on_two(1)
#endif
    }
}
