/*
 * group.pml -- members of a group share a partition: claim, commit, eviction, fencing  [G1]..[G5]
 *
 * One partition of N records and a log of offsets. Members 0 and 1 take the partition, read, commit
 * and give it back; they may die between any two steps, or be evicted by somebody who believes that
 * they do not poll. When both may die, member 2 comes late: to a file that is open, or to one that
 * nobody has open any more, whose claims are made anew. A claim is one word, {owner, epoch}, and
 * changes by compare-and-swap; an append to the log is atomic and ordered, as everywhere.
 *
 * run: ok                         one death, one eviction
 * run: ok DEATHS=2 EVICTIONS=0    the area is made anew
 * run: ok DEATHS=0 EVICTIONS=2
 * run: ok RELEASES=1
 * run: caught NO_MARK             who takes a claim leaves no mark in the log: a late commit counts
 * run: caught READ_BEFORE_MARK    and reads the committed offset before the mark is there
 * run: caught NO_EPOCHS           every commit in the log counts
 * run: caught CHECK_ONCE          a commit looks at its claim before it appends, and not after
 * run: caught NO_CHECK            a poll believes that what was claimed once is claimed
 * run: caught SAME_EPOCH          a claim that is taken keeps its epoch
 * run: caught NOT_FROM_EVICTED    an evicted member keeps its claims: nobody can go on
 * run: caught DEATHS=2 RESTART_AT_ZERO  claims made anew begin below the epochs in the log
 * run: caught WITNESS_FENCED      a commit finds that its claim is gone
 * run: caught WITNESS_IGNORED     a commit in the log is ignored
 */
#define N 2
#define MEMBERS 3
#define NOBODY 3
#define LOG 16
#ifndef RELEASES
#define RELEASES 0
#endif

mtype = { OUT, IN, EVICTED };

typedef entry { byte epoch; byte offset; bool mark };

entry log[LOG];
byte used;
byte owner = NOBODY, epoch;     /* the claim: one word, read and swapped as one */
mtype member[MEMBERS] = OUT;
bool alive[MEMBERS] = true;
bool over[MEMBERS];             /* it has left */
byte acked;                     /* the highest commit anybody was told is done */
byte handled;                   /* records below were handed to somebody */
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef EVICTIONS
#define EVICTIONS 1
#endif
byte deaths = DEATHS, evictions = EVICTIONS, releases = RELEASES;

/* What the log says: entries in order, lower epochs than one seen before count nothing. [G2] */
inline fold(high, sum, i)
{
    d_step {
        high = 0; sum = 0; i = 0;
        do
        :: i < used ->
            if
#ifdef NO_EPOCHS
            :: true ->
#else
            :: log[i].epoch >= high ->
#endif
                high = (log[i].epoch > high -> log[i].epoch : high);
                if
                :: !log[i].mark ->
                    assert(log[i].offset >= sum);       /* offsets never go back [G3] */
                    sum = log[i].offset
                :: else
                fi
            :: else
#ifdef WITNESS_IGNORED
                -> assert(false)
#endif
            fi;
            i++
        :: else -> break
        od;
        i = 0
    }
}

inline append(is_mark, an_epoch, an_offset)
{
    atomic {
        log[used].mark = is_mark; log[used].epoch = an_epoch; log[used].offset = an_offset;
        used++
    }
}

/* It is free, its owner is dead, or was told that it is gone. */
#ifdef NOT_FROM_EVICTED
#define takeable(who) (who == NOBODY || !alive[who])
#else
#define takeable(who) (who == NOBODY || who == me || !alive[who] || member[who] != IN)
#endif

inline take()
{
    atomic { was = owner; was_epoch = epoch };
    if
    :: takeable(was) ->
        atomic {
            if
            :: owner == was && epoch == was_epoch ->
                owner = me;
#ifndef SAME_EPOCH
                epoch++;
#endif
                mine = epoch; holds = true
            :: else
            fi
        };
        if
        :: holds ->
#ifdef READ_BEFORE_MARK
            fold(high, position, i);
            append(true, mine, 0)
#else
#ifndef NO_MARK
            append(true, mine, 0);
#endif
            fold(high, position, i)
#endif
            ;
            /* what was acknowledged counts, for who still has the claim [G2] */
            assert(owner != me || epoch != mine || position >= acked)
        :: else
        fi
    :: else
    fi
}

/* Records are handed out only under a claim that is one's own at that moment. [G1] */
inline poll()
{
    atomic {
        if
#ifdef NO_CHECK
        :: true ->
#else
        :: owner == me && epoch == mine && member[me] == IN ->
#endif
            if
            :: position < N ->
                assert(owner == me && epoch == mine);
                assert(position <= handled);    /* none is left out [G4] */
                position++;
                handled = (position > handled -> position : handled)
            :: else
            fi
#ifndef NO_CHECK
        :: else -> holds = false
#endif
        fi
    }
}

inline commit()
{
    if
    :: position <= acked                /* nothing new */
    :: position > acked && owner == me && epoch == mine ->
        append(false, mine, position);
#ifdef CHECK_ONCE
        atomic { acked = (position > acked -> position : acked) }
#else
        atomic {
            if
            :: owner == me && epoch == mine ->
                acked = (position > acked -> position : acked)
            :: else -> holds = false
            fi
        }
#endif
    :: position > acked && (owner != me || epoch != mine) ->
#ifdef WITNESS_FENCED
        assert(false);
#endif
        holds = false
    fi
}

inline release()
{
    atomic {
        if
        :: owner == me && epoch == mine -> owner = NOBODY
        :: else
        fi;
        holds = false; releases--
    }
}

proctype life(byte me)
{
    byte mine, position, was, was_epoch, high, i, turns;
    bool holds;
    {
        do
        :: member[me] != IN ->
            atomic { member[me] = IN; holds = false }   /* joins, or is told that it was evicted */
        :: else ->
            if
            :: !holds && acked < N && takeable(owner) -> take()
            :: holds ->
                poll();
                if
                :: holds && position < N                /* reads on, and commits later */
                :: holds ->
                    commit();
                    if
                    :: holds && releases > 0 -> release()   /* somebody else shall have it */
                    :: holds
                    :: else
                    fi
                :: else
                fi
            :: acked == N -> break
            fi
        od
    } unless { !alive[me] };
    over[me] = true
}

/* Somebody believes that a member does not poll any more. */
active proctype observer()
{
    byte who;
end:
    do
    :: evictions > 0 ->
        atomic {
            select(who : 0 .. 1);
            if
            :: member[who] == IN -> member[who] = EVICTED; evictions--
            :: else
            fi
        }
    :: over[0] && over[1] -> break
    od
}

active proctype killer()
{
    byte who;
end:
    do
    :: deaths > 0 -> atomic { select(who : 0 .. 1); alive[who] = false; deaths-- }
    :: break
    od
}

init
{
    byte high, sum, i;
    atomic { run life(0); run life(1) };
#if DEATHS > 1
    if
    :: true                                     /* it joins those who are there */
    :: over[0] && over[1] && !alive[0] && !alive[1] ->
        fold(high, sum, i);                     /* the area is made anew */
#ifdef RESTART_AT_ZERO
        high = 0;
#endif
        atomic { owner = NOBODY; epoch = high; member[0] = OUT; member[1] = OUT }
    fi;
    run life(2);
    over[2];
#endif
    over[0] && over[1];
    fold(high, sum, i);
    assert(acked == N && sum == N && handled == N)
}
