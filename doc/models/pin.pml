/*
 * pin.pml -- pin, retire, free, use again  [R1] [R2] [C2] [S1] [S2]
 *
 * One run of blocks, used by segment 1, then 2, then 3. The freeing handle (slot 0) retires the
 * segment, scans the pins, frees it, and writes the next segment over it. Its own handle has a
 * consumer too; so has slot 1, whose handle may be killed, after which a newcomer claims the
 * slot. Stores to a pin and to the catalog's `visible` go through store buffers: they reach the
 * others at any later time, at the latest at a fence.
 *
 * run: ok
 * run: ok NO_DEATH
 * run: caught NO_RECHECK_AFTER_PIN         the reader does not look at the catalog after it has
 *                                          pinned
 * run: caught NO_FENCE_READER              the reader loads `visible` before its pin can be seen
 * run: caught NO_FENCE_FREER               the pins are scanned before RETIRE can be seen
 * run: caught FREE_BEFORE_RETIRE_VISIBLE   the pins are scanned before RETIRE is published
 * run: caught NO_SCAN                      the pins are not scanned
 * run: caught OWN_SLOT_PROBED              one's own slot is probed: "free", so one's own pins do
 *                                          not count
 * run: caught DEAD_PINS_COUNT NO_NEWCOMER  a dead reader's pin holds its segment for ever
 * run: caught RESIDUE_KEPT IDLE_NEWCOMER   a claimed slot keeps the dead owner's pins
 * run: caught UNPIN_EARLY                  the pin is given back before the last use of the records
 * run: caught WITNESS_REFRESH              a reader finds after pinning that the catalog has moved
 * run: caught WITNESS_HELD                 the freeing handle finds a pin of a live slot
 */
#define ROUNDS 2        /* segments 1 and 2 are retired */

/* The catalog is its `visible`: 3 * k = segment k + 1 is live, + 1 = it is retired, + 2 = it is
 * free.
 */
#define LIVE(v)     ((v) % 3 == 0)
#define SEGMENT(v)  ((v) / 3 + 1)

byte visible;           /* in memory; */
byte visible_next;      /* in the store buffer of the freeing handle, when `visible_held` */
bool visible_held;
byte pin[2];            /* of slots 0 and 1 */
byte pin_next[2];
bool pin_held[2];
bool locked = true;     /* the byte of slot 1; that of slot 0 stays locked */
byte block = 1;         /* whose bytes are in the blocks */
bool killed;            /* the first owner of slot 1 */

inline store_pin(s, value)
{
    atomic { !pin_held[s] -> pin_next[s] = value; pin_held[s] = true }
}

inline fence_pin(s)
{
    atomic {
        if
        :: pin_held[s] -> pin[s] = pin_next[s]; pin_held[s] = false; pin_next[s] = 0
        :: else
        fi
    }
}

inline store_visible(value)
{
    atomic { !visible_held -> visible_next = value; visible_held = true }
}

inline fence_visible()
{
    atomic {
        if
        :: visible_held -> visible = visible_next; visible_held = false
        :: else
        fi
    }
}

/* The store buffers drain when they like. */
active proctype buffers()
{
end:
    do
    :: atomic { pin_held[0] -> pin[0] = pin_next[0]; pin_held[0] = false; pin_next[0] = 0 }
    :: atomic { pin_held[1] -> pin[1] = pin_next[1]; pin_held[1] = false; pin_next[1] = 0 }
    :: atomic { visible_held -> visible = visible_next; visible_held = false }
    od
}

/* Bytes are used as long as the pin stands. */
inline use() { assert(block == segment) }

inline read_one()
{
    picture = visible;
    do
    :: !LIVE(picture) -> picture = visible      /* a gap: nothing to read until the next ADD */
    :: LIVE(picture) ->
        segment = SEGMENT(picture);
        store_pin(s, segment);
#ifndef NO_FENCE_READER
        fence_pin(s);                                                   /* [R1] */
#endif
#ifdef NO_RECHECK_AFTER_PIN
        break
#else
        if
        :: visible == picture -> break                                  /* [C2] */
        :: else ->
#ifdef WITNESS_REFRESH
            assert(false);
#endif
            picture = visible
        fi
#endif
    od;
#ifdef UNPIN_EARLY
    store_pin(s, 0);
#endif
    use();
    use();
    store_pin(s, 0);
    segment = 0; picture = 0
}

proctype consumer(byte s; byte times; bool mortal)
{
    byte picture, segment;
    {
        do
        :: times > 0 -> read_one(); times--
        :: times == 0 -> break
        od
    } unless { mortal && killed }
}

/* [S2] lock the byte, clear the residue, use. A new process: nothing of the old store buffer is
 * left.
 */
proctype newcomer()
{
    byte picture, segment, s = 1;
    skip;
end_occupied:
    atomic { !locked -> locked = true };
#ifndef RESIDUE_KEPT
    store_pin(1, 0);
    fence_pin(1);
#endif
#ifndef IDLE_NEWCOMER
    read_one();
#endif
    skip
}

#ifdef OWN_SLOT_PROBED
#define HELD_0    false
#else
#define HELD_0    (pin[0] == k)
#endif
#ifdef DEAD_PINS_COUNT
#define SLOT_1    true
#else
#define SLOT_1    locked                                                /* [S1] */
#endif

/* Tries again later. Blocks for ever when nothing will change: an invalid end state. */
inline wait_for_pin()
{
#ifdef WITNESS_HELD
    assert(false);
#endif
    !(HELD_0 || (SLOT_1 && pin[1] == k))
}

inline scan()
{
#ifndef NO_SCAN
    do
    :: !HELD_0 ->
        alive = SLOT_1;
        if
        :: alive && pin[1] == k -> wait_for_pin()
        :: else -> break
        fi
    :: HELD_0 -> wait_for_pin()
    od
#else
    skip
#endif
}

inline retire()
{
    store_visible(3 * (k - 1) + 1);
#ifndef NO_FENCE_FREER
    fence_visible()                                                     /* [R2] */
#endif
}

proctype freer()
{
    byte k = 1;
    bool alive;
    do
    :: k <= ROUNDS ->
#ifdef FREE_BEFORE_RETIRE_VISIBLE
        scan();
        retire();
#else
        retire();
        scan();
#endif
        store_visible(3 * (k - 1) + 2);
        block = k + 1;                          /* the next segment is written over it, */
        store_visible(3 * k);                   /* and added */
        k++
    :: else -> break
    od;
    fence_visible()
}

#ifndef NO_DEATH
active proctype killer()
{
end:
    atomic { !killed -> killed = true; locked = false; pin_held[1] = false; pin_next[1] = 0 }
}
#endif

init
{
    atomic {
        run freer(); run consumer(0, 1, false); run consumer(1, 2, true);
#ifndef NO_NEWCOMER
        run newcomer()
#endif
    }
}
