/*
 * open.pml -- gate, alone, residue, recovery, clean mark, last close  [O1] [O2] [O3] [Y1] [Y3]
 *
 * Three handles, one after the other or at the same time, open, do one thing (append to a `sync`
 * topic and sync; append to an `os` topic; sync the `os` topic), and close. Any may be killed
 * between any two instructions. The file is cleanly closed at the start, or a power cut of an
 * earlier boot has left it with a hole: something intact behind something that is missing. One
 * sync fails: what was dirty is then clean and not on disk, and the error is told once to each
 * descriptor, to later ones only while nobody was told. At every moment: what was acknowledged is
 * on disk, and a file whose mark is clean on disk needs no recovery.
 *
 * run: ok
 * run: caught NO_REWRITE          what a sync was under way for is synced, but not written again
 * run: caught OLD_MARK_UNWRITTEN  the mark that recovery reads may be in the page cache only: on
 *                                 disk the file is still marked clean
 * run: caught NO_BUILDING         the area is rebuilt without a word, and the residue forgotten; then
 *                                 a crash inside recovery
 * run: caught ZERO_FIRST          the area is zeroed, and then says that it is being built
 * run: caught MARK_BEFORE_STABLE  the new mark is written before what recovery found is stable: the
 *                                 next one trusts more than this one did
 * run: caught RESIDUE_BY_MARK     the area is not looked at when the mark is of an earlier boot: it
 *                                 may be of this boot, left by a recovery that failed
 * run: caught SUSPECT_FORGOTTEN   the area of a finished recovery does not tell that there are suspect
 *                                 bytes
 * run: caught SUSPECT_IGNORED     suspect bytes are synced, but not written again
 * run: caught MARK_LATE           the first modification comes before the clean mark is gone from
 *                                 the disk
 * run: caught MARK_FIRST          the last close sets the mark before it syncs
 * run: caught LAST_UNCHECKED      a handle that closes does not look whether others are left
 * run: caught CLOSE_POISONED      the last close sets the mark in spite of poison
 * run: caught NO_GATE             open and close decide without the gate
 * run: caught WITNESS_DIRTY       an opener finds a residue
 * run: caught WITNESS_AGAIN       an opener finds that recovery was interrupted
 * run: caught WITNESS_SUSPECT     suspect bytes are met by a sync
 */
#define H 3
#define CLEAN     0
#define EARLIER   1     /* unclean, of an earlier boot */
#define NOW       2     /* unclean, of this boot */

/* The file: the bytes of `sync` topics and the catalog, those of an `os` topic, the mark. Dirty, or
 * lost: not on disk, and the kernel believes that all is written. */
bool sync_dirty, sync_lost, os_dirty, os_lost, mark_dirty;
byte mark, mark_disk;
bool hole;              /* frames behind a hole: in the file, and not to be counted */
#define SYNC_THERE (!sync_dirty && !sync_lost)
#define OS_THERE   (!os_dirty && !os_lost)

/* The coordination area. */
bool instance, poison, building, unclean;
bool area_now;          /* built in this boot */
bool suspect, doubt;    /* of the os topic's cell; of the header: there were suspect bytes */
bool intent[H];
byte leader;

byte gate;
bool locked[H], killed[H], open[H], pending[H];
bool failed, told;
byte deaths;
#define MAXDEATHS 2

#define MAY_FAIL (!failed && (sync_dirty || os_dirty))

#define ALONE   (!locked[(me + 1) % H] && !locked[(me + 2) % H])
#define OTHERS_INTENT (intent[(me + 1) % H] || intent[(me + 2) % H])
#ifdef SUSPECT_FORGOTTEN
#define LEFT    (building || intent[0] || intent[1] || intent[2])
#else
#define LEFT    (building || doubt || intent[0] || intent[1] || intent[2])
#endif
#ifdef RESIDUE_BY_MARK
#define TELLS   (mark == NOW)
#else
#define TELLS   (mark == NOW || (mark == EARLIER && area_now))
#endif

inline sync()
{
    atomic {
        if
        :: true ->
            if :: mark_dirty -> mark_disk = mark :: else fi
        :: MAY_FAIL ->
            failed = true;
            sync_lost = sync_lost || sync_dirty; os_lost = os_lost || os_dirty;
            pending[0] = open[0]; pending[1] = open[1]; pending[2] = open[2];
            if :: mark_dirty -> mark_disk = mark :: else fi
        fi;
        sync_dirty = false; os_dirty = false; mark_dirty = false;
        sync_there = !sync_lost; os_there = !os_lost;   /* of what was written until now */
        bad = pending[me]; pending[me] = false;
        if
        :: bad -> told = true
        :: else
        fi
    }
}

/* With the intent set; an error: poison. [Y1] */
inline guarded_sync()
{
    intent[me] = true;
    sync();
    if
    :: bad -> poison = true
    :: else
    fi;
    intent[me] = false
}

inline take_gate()
{
#ifndef NO_GATE
    atomic { gate == 0 -> gate = me + 1 }
#else
    skip
#endif
}

inline give_gate() { if :: gate == me + 1 -> gate = 0 :: else fi }

/* The header in one piece: what the old area told must not be forgotten. [O1] */
inline rebuild()
{
    atomic {
#ifdef NO_BUILDING
        building = false;
#else
        building = (residue || mark != CLEAN);
#endif
#ifdef ZERO_FIRST
        building = false;
#endif
        poison = false; instance = false; suspect = false; doubt = false; leader = 0;
        intent[0] = false; intent[1] = false; intent[2] = false;
        unclean = (mark != CLEAN); area_now = true
    };
#ifdef ZERO_FIRST
    building = (residue || mark != CLEAN);
#endif
    skip
}

inline set_mark(value) { atomic { mark = value; mark_dirty = true } }

/* What survives is made stable, written again when there is a residue; the batch that seals it; then
 * the mark. Of the os topic it is only remembered. */
inline recover()
{
#ifdef MARK_BEFORE_STABLE
    set_mark(NOW);
#endif
    assert(!(hole && trusted));
#ifndef OLD_MARK_UNWRITTEN
    mark_dirty = true;                  /* as it was read */
    guarded_sync();
#endif
    if
    :: !bad ->
        atomic {
            if
#ifdef NO_REWRITE
            :: false
#else
            :: residue -> sync_dirty = (sync_dirty || sync_lost); sync_lost = false                                 /* [Y3] */
#endif
            :: else
            fi;
            sync_dirty = true               /* the batch */
        };
        guarded_sync();
        if
        :: !bad ->
            assert(SYNC_THERE);
            hole = false;
            set_mark(NOW);
            guarded_sync();
            atomic { suspect = residue; doubt = residue }
        :: else
        fi
    :: else
    fi
}

inline open_alone()
{
    atomic {
        residue = TELLS && LEFT;
        poisoned = TELLS && poison;
#ifdef WITNESS_DIRTY
        assert(!residue);
#endif
#ifdef WITNESS_AGAIN
        assert(!(TELLS && building));
#endif
        trusted = (mark == NOW && !poisoned)
    };
    if
    :: poisoned -> residue = true
    :: else
    fi;
    rebuild();
    if
    :: mark == CLEAN -> assert(SYNC_THERE && OS_THERE && !hole)
    :: else ->
        if
        :: poisoned ->                  /* the device is read, around the page cache */
            atomic { sync_lost = false; os_lost = false; sync_dirty = true; os_dirty = true }
        :: else
        fi;
        recover()
    fi;
    if
    :: bad -> refused = true; bad = false
    :: else -> building = false; unclean = (mark != CLEAN); instance = true
    fi
}

inline open_file()
{
    atomic { open[me] = true; pending[me] = failed && !told };
    take_gate();
    locked[me] = true;
    if
    :: ALONE -> open_alone()
    :: else -> assert(instance)
    fi;
    if
    :: refused -> atomic { locked[me] = false; open[me] = false; pending[me] = false }
    :: else
    fi;
    give_gate();
    atomic { residue = false; poisoned = false; trusted = false }
}

/* The mark is gone from the disk before anything is modified. [O2] */
inline modify()
{
#ifndef MARK_LATE
    if
    :: !unclean -> set_mark(NOW); guarded_sync(); if :: !bad -> unclean = true :: else fi
    :: else
    fi
#else
    skip
#endif
}

inline late_mark()
{
#ifdef MARK_LATE
    set_mark(NOW); unclean = true
#else
    skip
#endif
}

#define DOUBTFUL (OTHERS_INTENT || suspect)

inline lead()
{
    atomic { leader == 0 || killed[leader - 1] -> leader = me + 1 }
}

inline append_sync()
{
    modify();
    if
    :: !poison && !bad ->
        sync_dirty = true;
        late_mark();
        lead();
        atomic {
            if
            :: OTHERS_INTENT -> sync_dirty = (sync_dirty || sync_lost); sync_lost = false                       /* [Y3] */
            :: else
            fi
        };
        guarded_sync();
        atomic {
            if
            :: !bad && !poison ->
                assert(sync_there)
            :: else
            fi;
            leader = 0
        }
    :: else
    fi;
    atomic { bad = false; sync_there = false; os_there = false }
}

inline append_os()
{
    modify();
    if
    :: !poison && !bad -> os_dirty = true; late_mark()
    :: else
    fi;
    bad = false
}

inline sync_os()
{
    lead();
    if
    :: !poison ->
        atomic {
#ifdef WITNESS_SUSPECT
            assert(!suspect);
#endif
            if
#ifdef SUSPECT_IGNORED
            :: OTHERS_INTENT -> os_dirty = (os_dirty || os_lost); os_lost = false
#else
            :: DOUBTFUL -> os_dirty = (os_dirty || os_lost); os_lost = false                              /* [Y3] */
#endif
            :: else
            fi
        };
        guarded_sync();
        atomic {
            if
            :: !bad && !poison -> assert(os_there); suspect = false
            :: else
            fi
        }
    :: else
    fi;
    atomic { bad = false; sync_there = false; os_there = false; leader = 0 }
}

/* The last one syncs, sets the mark, zeroes the area. [O3] */
inline close_file()
{
    take_gate();
    if
#ifdef LAST_UNCHECKED
    :: true ->
#else
    :: ALONE ->
#endif
        if
#ifdef CLOSE_POISONED
        :: unclean ->
#else
        :: unclean && !poison && !OTHERS_INTENT ->
#endif
#ifndef MARK_FIRST
            atomic { if :: suspect -> os_dirty = (os_dirty || os_lost); os_lost = false :: else fi };
            guarded_sync();
#endif
            if
#ifdef CLOSE_POISONED
            :: true ->
#else
            :: !poison ->
#endif
                instance = false;
                set_mark(CLEAN);
                guarded_sync();
                if
                :: !poison ->
                    atomic { suspect = false; doubt = false; building = false }
                :: else
                fi
            :: else
            fi
        :: else
        fi
    :: else
    fi;
    atomic { locked[me] = false; open[me] = false; pending[me] = false; bad = false };
    give_gate()
}

proctype handle(byte me)
{
    bool bad, refused, residue, poisoned, trusted, sync_there, os_there;
    {
        open_file();
        if
        :: refused
        :: !refused && me != 1 -> append_sync(); close_file()
        :: !refused && me == 0 -> append_os(); sync_os(); close_file()
        :: !refused && me != 0 -> sync_os(); close_file()
        fi
    } unless { killed[me] }
}

inline die(i)
{
    atomic {
        open[i] && !killed[i] && deaths < MAXDEATHS ->
        deaths++; killed[i] = true; locked[i] = false; open[i] = false; pending[i] = false;
        if :: gate == i + 1 -> gate = 0 :: else fi
    }
}

/* Deaths; and what a power cut at this moment would show. [O2] [O3] */
active proctype environment()
{
end:
    do
    :: die(0)
    :: die(1)
    :: die(2)
    :: atomic { mark_dirty -> mark_disk = mark; mark_dirty = false }
    :: atomic {
           mark_disk == CLEAN && !(SYNC_THERE && OS_THERE) -> assert(false)
       }
    od
}

init
{
    atomic {
        if
        :: mark = CLEAN
        :: mark = EARLIER; hole = true
        fi;
        mark_disk = mark;
        run handle(0); run handle(1); run handle(2)
    }
}
