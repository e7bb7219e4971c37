#!/usr/bin/env python3
"""broken.py [NAME...] -- builds of the library with one step wrong; the simulator must find each

One is a module with a piece of its text replaced. SIM is the folder of the simulated build, CC and
FLAGS compile. What stands below must be in the source: a change there changes this list, too."""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIM = pathlib.Path(os.environ["SIM"])
IMAGES = int(os.environ.get("BROKEN_IMAGES", "1000000"))
SEEDS = ("1", "1000000000000")  # runs of all sorts, then those with crashes all the time
QUICK = os.environ.get("BROKEN") == "quick"
# Rarely met: they need more than some ten thousand images, and are left out with BROKEN=quick.
RARE = """root-believed-unsynced formatted-again-through-the-cache formatting-forgotten-first
    free-space-not-forgotten free-while-written vouches-for-others catalog-taken-without-repair
    given-up-frame-stays refused-entries-stay sync-is-visible-at-once name-stable-last
    adopted-without-checking poison-not-honoured failed-sync-is-tried-again
    superblock-not-settled readers-not-woken flag-set-too-late
    read-only-shows-what-is-not-stable read-only-trusts-the-page-cache
    written-again-through-the-cache intent-not-set free-while-pinned header-not-repaired
    publish-before-sync poison-forgotten residue-ignored roll-of-a-sync-topic-unsynced
    clean-mark-before-the-content""".split()

# name, module, what stands there, what stands there instead
BROKEN = [
    # what a frame is believed for
    ("guard-without-position", "format",
     "put_le64(bound + 8, place->salt | (uint64_t)position << 32);",
     "put_le64(bound + 8, place->salt); (void)position;"),
    ("guard-without-segment", "format",
     "put_le64(bound, place->id);\n    put_le64(bound + 8, place->salt | ",
     "put_le64(bound, 0);\n    put_le64(bound + 8, 0 | "),
    ("guard-not-checked", "log",
     "if (frame_guard(place, at->position, f, data + FRAME_BYTES) != f->guard) return 0;", ""),
    ("batch-crc-not-checked", "log",
     "if (deep && !batch_intact(data + FRAME_BYTES, &found->batch)) return 0;", "(void)deep;"),
    ("given-up-frame-stays", "partition",
     "int zeroed = coord_write_stable(p->cat->coord, zeros, sizeof zeros, at);",
     "(void)at; (void)zeros; int zeroed = 0;"),
    # acknowledged and visible before it is stable
    ("acknowledged-unsynced", "partition",
     "if (to > 0) rc = sync_range(p, &found, from, to);", ""),
    ("publish-before-sync", "partition",
     "    if (to > 0) rc = sync_range(p, &found, from, to);\n",
     "    publish_stable(p, &tail, leader);\n"
     "    if (to > 0) rc = sync_range(p, &found, from, to);\n"),
    ("sync-is-visible-at-once", "partition",
     "if (os) atomic_exchange(&cell->visible, next.next); /* [P2] */",
     "(void)os; atomic_exchange(&cell->visible, next.next);"),
    ("earlier-segments-unsynced", "partition",
     "    coord_sync_begin(p->cat->coord); /* [Y1] */\n    int rc = sync_range(p, s, from, to);\n"
     "    coord_sync_end(p->cat->coord);\n    return rc;",
     "    (void)p; (void)s; (void)from; (void)to;\n    return 0;"),
    ("sync-begins-too-late", "partition",
     "*from = min_u64(atomic_load(&cell->synced_position), *to);",
     "*from = min_u64(atomic_load(&cell->synced_position) + 512, *to);"),
    ("roll-of-a-sync-topic-unsynced", "partition",
     "if (rc == 0 && p->config->sync == BECK_SYNC_SYNC) rc = sync_now(p, false, true);", ""),
    ("seal-says-stable", "partition",
     ".stable_offset = min_u64(atomic_load(&p->cell.rw->stable), tail->next),",
     ".stable_offset = tail->next,"),
    ("frame-says-stable", "partition",
     "log_stable_field(stable, p->base)", "log_stable_field(tail->next + (stable & 0), p->base)"),
    # recovery
    ("recovery-unsynced", "recover", "    rc = os_map_sync(&map, 0, end);\n", ""),
    ("append-to-a-cut-segment", "recover",
     "        at += n;\n    }\n",
     "        at += n;\n    }\n    for (size_t i = 0; rc == 0 && i < r->count; i++) {\n"
     "        r->ends[i].tail.segment = r->ends[i].tail.next ? r->entries[0].place.id : 0;\n"
     "        r->ends[i].tail.position = SEGMENT_HEADER_BYTES;\n    }\n"),
    ("cut-not-sealed", "recover",
     "    if (rc == 0) rc = seal_at(r, s, found, max_timestamp, out->stable); /* [V2] [V3] */", ""),
    ("header-not-repaired", "recover",
     "rc = file_repair_header(f, &s->place, s->topic, s->partition, s->base);", "rc = 0;"),
    ("behind-the-cut-stays", "recover",
     "int rc = retire_behind(r, t, index, part, at + 1, found->end.next);",
     "int rc = 0; (void)retire_behind; (void)index;"),
    ("cut-says-stable", "recover",
     ".stable_offset = min_u64(f->end.next, stable),",
     ".stable_offset = min_u64(f->end.next, max_u64(stable, s->base)),"),
    ("page-cache-always-trusted", "file",
     "    return memcmp(boot, unknown, 16) != 0 && memcmp(boot, super->boot_id, 16) == 0 &&\n",
     "    return memcmp(boot, unknown, 16) != 0 &&\n"),
    ("residue-ignored", "coord", "            if (atomic_load(&slots[i].intent) != 0) "
     "*residue = RESIDUE_INTENT;", "            (void)slots;"),
    ("poison-forgotten", "coord",
     "        if (atomic_load(&h->poison) != 0 || building == BUILDING_POISONED ||\n",
     "        if (0 && building == BUILDING_POISONED ||\n"),
    # catalog and superblocks
    ("root-believed-unsynced", "catalog",
     "return now.root.id == super->root.id ? os_sync(&cat->file->os) : rc;",
     "return now.root.id == super->root.id ? 0 : rc;"),
    ("catalog-unsynced", "catalog",
     "coord_write_stable(cat->coord, bytes, count, place_at(place) + from);",
     "os_write(&cat->file->os, bytes, count, place_at(place) + from);"),
    ("root-flips-before-its-content", "catalog",
     "    if (rc == 0) rc = write_stable(cat, &s->place, SEGMENT_HEADER_BYTES, s->out.data, "
     "s->out.size);\n",
     "    if (rc == 0) rc = os_write(&cat->file->os, s->out.data, s->out.size, "
     "place_at(&s->place) + SEGMENT_HEADER_BYTES);\n#define os_sync(file) 0\n"),
    ("refused-entries-stay", "catalog",
     "if (whole && write_stable(cat, &cat->segment, cat->at.position, zeros, sizeof zeros) < 0) {",
     "(void)zeros;\n    if (0 && whole) {"),
    ("superblocks-at-once", "file",
     "    return os_write_stable(&f->os, bytes, SUPER_BYTES, copy == 0 ? SUPER_A_AT : SUPER_B_AT);",
     "    return os_write(&f->os, bytes, SUPER_BYTES, copy == 0 ? SUPER_A_AT : SUPER_B_AT);"),
    ("superblock-not-settled", "file", "if (!f->supers_unsettled) return 0;", "return 0;"),
    ("superblocks-stay-different", "db", "(!r.clean || db->file.supers_differ)", "(!r.clean)"),
    ("clean-mark-stays", "catalog", "if (LIKELY(atomic_load(&h->unclean) != 0)) return 0;",
     "atomic_store(&h->unclean, 1); return 0;"),
    ("clean-mark-before-the-content", "db",
     "    rc = os_sync(&db->file.os);\n    super.state = SUPER_CLEAN;",
     "    rc = 0;\n    super.state = SUPER_CLEAN;"),
    ("closed-without-sync", "db", "    rc = db_sync(db);\n    if (rc == 0) rc = catalog_lock",
     "    rc = 0;\n    if (rc == 0) rc = catalog_lock"),
    ("name-not-stable", "file",
     "    if (!f->nameless && (rc = os_sync_directory(f->path, &f->os)) < 0) return rc;\n", ""),
    ("name-stable-last", "file",
     "    if (!f->nameless && (rc = os_sync_directory(f->path, &f->os)) < 0) return rc;\n"
     "    file_mark(f, &super);\n    return file_write_super(f, &super);",
     "    file_mark(f, &super);\n    rc = file_write_super(f, &super);\n"
     "    return rc < 0 || f->nameless ? rc : os_sync_directory(f->path, &f->os);"),
    ("torn-first-superblock", "file", "if (got[0] == 0 && got[1] != 1) return file_unformatted(f);",
     "if (got[0] == 0 && got[1] == 0) return file_unformatted(f);"),
    ("index-not-stable", "index", "coord_write_stable(c, index->data, index->size, at);",
     "os_write(c->file, index->data, index->size, at);"),
    # what a failed sync leaves in the page cache
    ("written-again-through-the-cache", "file",
     "    rc = around ? os_open_direct(&f->os, f->path, &direct) : BECK_UNSUPPORTED;",
     "    rc = BECK_UNSUPPORTED; (void)around;"),
    ("free-space-not-forgotten", "recover",
     "    if (from < to) os_forget(&r->cat->file->os, from, to - from);",
     "    (void)r; (void)from; (void)to;"),
    ("formatted-again-through-the-cache", "file",
     "    if (size > 0) os_forget(&f->os, 0, HEAP_AT);", ""),
    ("formatting-forgotten-first", "file",
     "        if ((rc = os_sync(&f->os)) < 0) return rc;\n", ""),
    # space
    ("free-while-pinned", "retire", "&& !coord_pinned(cat->coord, list[i].place.id))", ")"),
    ("free-while-written", "retire", "rc = retire_mark_topic(cat, list[i].topic, &quiet);",
     "quiet = true;"),
    # death, locks, poison
    ("taken-over-without-repair", "partition",
     "int rc = r == LOCK_FROM_DEAD ? partition_repair(p) : 0;",
     "int rc = 0; (void)partition_repair;"),
    ("adopted-without-checking", "partition", "bytes - (at.position - from), true, &found, &want)",
     "bytes - (at.position - from), false, &found, &want)"),
    ("the-stopped-count-as-dead", "coord",
     "    return coord_slot_dead(c, slot);\n}", "    return true;\n}"),
    ("catalog-taken-without-repair", "catalog",
     "int rc = r == LOCK_FROM_DEAD ? catalog_repair(cat) : catalog_refresh(cat); /* [L2] */",
     "(void)catalog_repair; int rc = catalog_refresh(cat);"),
    ("tail-in-one-copy", "coord",
     "uint32_t flip = atomic_load_explicit(&cell->flip, memory_order_relaxed) + 1;",
     "uint32_t flip = atomic_load_explicit(&cell->flip, memory_order_relaxed);"),
    ("poison-not-honoured", "coord",
     "if (LIKELY(atomic_load(&coord_header_ro(c)->poison) == 0)) return 0;", "return 0;"),
    ("failed-sync-is-tried-again", "partition",
     "if (rc == 0 && os_map_sync(&p->sync_map, from, to) < 0) rc = sync_failed(p);",
     "if (rc == 0 && os_map_sync(&p->sync_map, from, to) < 0 && os_map_sync(&p->sync_map, from, to)"
     " < 0) rc = sync_failed(p);"),
    ("intent-not-set", "coord",
     "    atomic_store(&coord_slot(c, c->slot)->intent, atomic_load(&coord_header(c)->joins)); "
     "/* [Y1] */", ""),
    ("vouches-for-others", "coord",
     "if (intent != 0 && intent < c->joined) return false; /* [Y3] */", ""),
    ("read-only-shows-what-is-not-stable", "db",
     "    rc = os_sync_filesystem(&db->file.os);\n    return rc == BECK_UNSUPPORTED ? 0 : rc;",
     "    return 0;"),
    ("read-only-trusts-the-page-cache", "db",
     "    r.trusted = residue == RESIDUE_NONE && file_same_boot(&db->file, &super);",
     "    r.trusted = residue != RESIDUE_POISON && file_same_boot(&db->file, &super);"),
    # waking
    ("readers-not-woken", "coord", "        os_wake(&cell->bell, INT32_MAX);\n", ""),
    ("flag-set-too-late", "coord",
     "        if (w->cells[i].rw != NULL) atomic_fetch_or(&w->cells[i].rw->waiters, flag);\n", ""),
]


def module_of(entry):
    _, module, old, new = entry
    text = (ROOT / "src" / (module + ".c")).read_text(encoding="utf-8")
    if text.count(old) != 1:
        return None
    return text.replace(old, new)


def try_one(entry):
    """Build and run one; returns its name, whether it was caught, and what was found."""
    name, module = entry[:2]
    text = module_of(entry)
    if text is None:
        return name, False, "its text is not in src/%s.c exactly once" % module
    with tempfile.TemporaryDirectory(prefix="beck-") as folder:
        source, program = os.path.join(folder, module + ".c"), os.path.join(folder, "crash")
        pathlib.Path(source).write_text(text, encoding="utf-8")
        objects = [str(o) for o in SIM.glob("*.o") if o.stem != module]
        mine = os.path.join(folder, module + ".o")
        flags = os.environ["FLAGS"].split() + ["-w", "-include", str(ROOT / "sim/hook.h")]
        flags += ["-I" + str(ROOT / "include"), "-I" + str(ROOT / "src")]
        subprocess.run([os.environ["CC"], *flags, "-c", "-o", mine, source], check=True)
        if module == "db":
            subprocess.run(["objcopy", "--globalize-symbol=fork_list", mine], check=True)
        subprocess.run([os.environ["CC"], "-pthread", "-o", program, mine, *objects], check=True)
        for seed in SEEDS:
            done = subprocess.run([program, "--images", str(IMAGES), "--jobs", "1", "--seed", seed],
                                  text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  check=False)
            if done.returncode != 0:
                break
    if done.returncode == 0:
        return name, False, "not caught in %d images" % (len(SEEDS) * IMAGES)
    images = re.search(r"(\d+) crash images\n", done.stdout)
    found = re.search(r"(?:run \d+: |assertion failed: )(.*)", done.stderr)
    return name, True, "%6s images: %s" % (images[1] if images else "?", found[1] if found else "?")


def main(names):
    unknown = set(names + RARE) - {e[0] for e in BROKEN}
    if unknown:
        sys.exit("no broken build has the name %s; there are: %s" %
                 (", ".join(sorted(unknown)), " ".join(e[0] for e in BROKEN)))
    wanted = [e for e in BROKEN if (e[0] in names if names else not QUICK or e[0] not in RARE)]
    missed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, caught, what in pool.map(try_one, wanted):
            missed += not caught
            verdict = "caught" if caught else "MISSED"
            print("%-8s %-36s %s" % (verdict, name, what[:160]), flush=True)
    print("%d of %d broken builds were caught" % (len(wanted) - missed, len(wanted)))
    return int(missed > 0)


sys.exit(main(sys.argv[1:]))
