/*
 * settle.pml -- an intent of the dead is settled while its slot is claimed again  [S2] [Y2]
 *
 * Slot 0's owner died with its intent set; its error is not told yet. Two handles that joined
 * before settle it, both at the same time. As soon as the intent is gone, a newcomer claims the
 * slot and syncs, perhaps meeting an error of its own. A second newcomer opens later, vouches when
 * it sees no older intent and no poison, and must be right.
 *
 * run: ok
 * run: caught SETTLE_READ_ONCE  seen dead, then the intent is read: it may be the newcomer's, in
 *                               the same slot
 * run: caught WITNESS_CLAIMED   the slot is claimed again between two settlers
 */
#define SETTLER 1       /* handles 1 and 2; 0 has died, or is about to; 3 claims the slot of 0; 4 is late */

byte intent;            /* of slot 0; the only one here that can be found set */
bool owner_alive = true;
bool slot_locked = true;
byte seq = 3;           /* 0, 1 and 2 have joined */
bool poison, disk;      /* `disk`: the one record is there */
bool dirty = true;
bool second;            /* a second record was written, which a sync before it does not cover */
bool failed, told;
bool pending[5], open[5];

inline fail() { failed = true; pending[0] = open[0]; pending[1] = open[1]; pending[2] = open[2];
                pending[3] = open[3]; pending[4] = open[4] }

inline sync(h)
{
    atomic {
        if
        :: dirty -> dirty = false; disk = true
        :: dirty && !failed -> dirty = false; fail()
        :: !dirty
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

/* The first owner of the slot. */
proctype owner()
{
    bool bad;
    {
        do
        :: intent = seq;
            sync(0);
            if
            :: bad -> poison = true; intent = 0; break
            :: else -> intent = 0
            fi;
            break
        :: break
        od
    } unless { !owner_alive }
}

proctype settler(byte h)
{
    byte first, seen;
    bool bad;
    if
    :: intent != 0 ->
        first = intent;
        if
        :: !slot_locked ->
            seen = intent;
            if
            :: seen == 0
#ifdef SETTLE_READ_ONCE
            :: seen != 0 ->
#else
            :: seen != 0 && seen != first
            :: seen != 0 && seen == first ->
#endif
                sync(h);
                if
                :: bad -> poison = true
                :: else -> atomic { if :: intent == seen -> intent = 0 :: else fi }
                fi
            fi
        :: slot_locked
        fi
    :: true
    fi
}

/* Claims slot 0 and syncs. [S2] */
proctype claimer()
{
    bool bad;
    skip;
end_no_slot:
    atomic { !slot_locked && intent == 0 -> slot_locked = true; open[3] = true;
             pending[3] = failed && !told };
#ifdef WITNESS_CLAIMED
    assert(false);
#endif
    seq++;
    intent = seq;
    atomic { dirty = true; disk = false; second = true };
    sync(3);
    if
    :: bad -> poison = true
    :: else
    fi;
    intent = 0
}

proctype newcomer()
{
    byte join;
    bool bad, held, had;
    atomic { open[4] = true; pending[4] = failed && !told };
    atomic { seq++; join = seq };
    held = (intent != 0 && intent < join);
    if
    :: held                             /* would write it again: sync.pml */
    :: else ->
        had = second;
        sync(4);
        if
        :: bad -> poison = true
        :: else ->
            if
            :: !poison -> assert(disk || had != second)
            :: else
            fi
        fi
    fi
}

active proctype killer()
{
end:
    atomic { owner_alive -> owner_alive = false; slot_locked = false; open[0] = false;
             pending[0] = false }
}

init
{
    atomic {
        open[0] = true; open[1] = true; open[2] = true;
        run owner(); run settler(1); run settler(2); run claimer(); run newcomer()
    }
}
