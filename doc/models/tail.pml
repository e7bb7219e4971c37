/*
 * tail.pml -- tail and flip, adoption after a death, `written`, `visible`  [P1] [P2] [P3]
 *
 * One segment. Writers append one or two frames under the partition lock, or give up in between;
 * they may be killed between any two stores. A frame is three stores, body, chain and guard, in
 * this order or the reverse; it is intact when the guard fits both. Old bytes stay where they
 * are until somebody overwrites them. With SYNC the topic is a `sync` topic: a leader, one at a
 * time, syncs up to `written` and raises `visible`.
 *
 * run: ok
 * run: ok SYNC
 * run: caught TAIL_IN_PLACE          the tail is changed without the flip
 * run: caught FLIP_FIRST             the flip comes before the copy is whole
 * run: caught ADOPT_UNVERIFIED       a frame is adopted without a look at its body
 * run: caught ADOPT_UNCHAINED        a frame is adopted without a look at its chain
 * run: caught NO_ZERO                a live writer that gives up leaves its frames as they are
 * run: caught VISIBLE_FIRST          `visible` is raised before the frame is whole
 * run: caught VISIBLE_AFTER_RELEASE  `visible` is stored after the lock was given back: it falls
 * run: caught REPAIR_HIDES           a repair does not raise `visible`
 * run: caught SYNC PUBLISH_UNSYNCED  the leader publishes what was written after it looked
 * run: caught SYNC PLAIN_STORE       `visible` of a `sync` topic is stored, not raised: a late
 *                                    leader lowers it
 * run: caught SYNC WRITTEN_FIRST     `written` is raised before the frame is whole
 * run: caught WITNESS_ADOPTED        a dead writer's intact frame is adopted
 * run: caught WITNESS_TORN           a dead writer's torn frame is met
 */
#define WRITERS   3
#define FRAMES    7
#ifdef SYNC
#define MAXDEATHS 1
#else
#define MAXDEATHS 2
#endif

/* Frame at index i: intact when guard == body and chain is the guard before it. An id is never
 * given twice.
 */
byte body[FRAMES], chain[FRAMES], guard[FRAMES];
byte next_id = 1;

typedef copy { byte next; byte chain };
copy tail[2];
bit flip;

byte written, stable, visible, disk;
byte shown[FRAMES];             /* ghost: what a reader saw there */
bool abandoned[16];             /* ghost: ids that were given up by a live writer */
byte owner;                     /* partition lock: writer + 1; lock.pml looks closer */
bool killed[WRITERS], finished[WRITERS];
byte deaths;

#ifdef ADOPT_UNVERIFIED
#define WHOLE(i)       (guard[i] != 0)
#else
#define WHOLE(i)       (guard[i] != 0 && guard[i] == body[i])
#endif
#ifdef ADOPT_UNCHAINED
#define INTACT(i, c)   WHOLE(i)
#else
#define INTACT(i, c)   (WHOLE(i) && chain[i] == (c))
#endif

/* A reader at any moment: all below `visible` is there, in a chain, and stays what it was. [P2] */
inline look(i)
{
    if
    :: i < visible ->
        assert(guard[i] != 0 && guard[i] == body[i]);
        assert(i == 0 || chain[i] == guard[i - 1]);
        assert(!abandoned[guard[i]]);
        assert(shown[i] == 0 || shown[i] == guard[i]);
        shown[i] = guard[i]
    :: else
    fi
}

inline check_visible()
{
    d_step { look(0); look(1); look(2); look(3); look(4); look(5); look(6) }
}

inline raise_visible(v)
{
    atomic {
#ifdef SYNC
        visible = (v > visible -> v : visible);
        assert(visible <= disk);                                        /* [P3] */
#else
        assert(v >= visible);                                           /* [P2] */
        visible = v;
#endif
        check_visible()
    }
}

/* The idle copy is written, then the flip. [P1] */
inline set_tail(n, c)
{
#ifdef TAIL_IN_PLACE
    tail[flip].next = n;
    tail[flip].chain = c
#else
#ifdef FLIP_FIRST
    flip = 1 - flip;
    tail[flip].next = n;
    tail[flip].chain = c
#else
    tail[1 - flip].next = n;
    tail[1 - flip].chain = c;
    flip = 1 - flip
#endif
#endif
}

inline write_frame(i, c)
{
    atomic { id = next_id; next_id++ };
    if
    :: body[i] = id; chain[i] = c; guard[i] = id
    :: guard[i] = id; chain[i] = c; body[i] = id
    fi
}

/* Starts at the tail the flip points to; every intact frame that follows is adopted. [P1] */
inline repair()
{
    n = tail[flip].next; c = tail[flip].chain;
    assert(n == 0 || c == guard[n - 1]);
#ifdef WITNESS_TORN
    assert(guard[n] == 0 || guard[n] == body[n]);
#endif
    do
    :: INTACT(n, c) ->
#ifdef WITNESS_ADOPTED
        assert(false);
#endif
        atomic { c = guard[n]; n++ }
    :: else -> break
    od;
    set_tail(n, c);
    written = n;
#if !defined(SYNC) && !defined(REPAIR_HIDES)
    raise_visible(n)
#endif
}

inline lock()
{
    if
    :: atomic { owner == 0 -> owner = me + 1 }
    :: atomic { owner != 0 && killed[owner - 1] -> owner = me + 1 };
        repair()
    fi;
    n = tail[flip].next; c = tail[flip].chain;
    assert(n == 0 || c == guard[n - 1]);
#ifndef SYNC
    assert(visible == n)
#endif
}

inline give_up()
{
#ifndef NO_ZERO
    guard[n] = 0;                                                       /* [P1] */
#endif
    atomic {
        abandoned[first] = true; abandoned[second] = true; abandoned[0] = false;
        owner = 0
    }
}

inline publish()
{
    set_tail(m, c);
    written = m;
#ifdef SYNC
    owner = 0
#else
#ifdef VISIBLE_AFTER_RELEASE
    owner = 0;
    raise_visible(m)
#else
#ifndef VISIBLE_FIRST
    raise_visible(m);
#endif
    owner = 0
#endif
#endif
}

inline append()
{
    lock();
    m = n;
#ifdef VISIBLE_FIRST
    raise_visible(n + 1);
#endif
#ifdef WRITTEN_FIRST
    written = n + 1;
#endif
    write_frame(m, c);
    atomic { first = id; c = id; m++ };
    if
#ifndef SYNC
    :: me == 0 -> write_frame(m, c); atomic { second = id; c = id; m++ }
#endif
    :: true
    fi;
    if
    :: me < 2 -> give_up()
    :: true -> publish()
    fi;
    d_step { n = 0; m = 0; c = 0; first = 0; second = 0; id = 0 }
}

proctype writer(byte me)
{
    byte n, m, c, id, first, second;
    {
        append();
        finished[me] = true
    } unless { killed[me] }
}

/* What is synced is what `written` said before. */
inline lead()
{
    w = written;
    disk = (w > disk -> w : disk);
#ifdef PUBLISH_UNSYNCED
    w = written;
#endif
    stable = (w > stable -> w : stable);
#ifdef PLAIN_STORE
    atomic { assert(w >= visible); visible = w }
#else
    raise_visible(w)
#endif
}

proctype leader()
{
    byte w;
    lead()
}

active proctype killer()
{
    byte v;
end:
    do
    :: atomic { deaths < MAXDEATHS ->
        if
        :: v = 0
        :: v = 1
        :: v = 2
        fi;
        if
        :: !killed[v] && !finished[v] -> killed[v] = true; deaths++
        :: else
        fi;
        v = 0 }
    od
}

init
{
    atomic {
        run writer(0); run writer(1); run writer(2);
#ifdef SYNC
        run leader(); run leader()
#endif
    }
}
