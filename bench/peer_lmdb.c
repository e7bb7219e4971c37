/* peer_lmdb.c -- LMDB as a store: rising integer keys, record key and value as one datum */
#include "bench.h"

#ifndef HAVE_LMDB
const struct store_kind *const store_lmdb = NULL;
#else

#include <lmdb.h>
#include <stdlib.h>

#define MAP_BYTES ((size_t)4 << 30)

struct lmdb_store {
    MDB_env *env;
    MDB_dbi dbi;
    size_t next;
};

static void must(int rc, const char *what)
{
    if (rc != 0) die("lmdb: %s: %s", what, mdb_strerror(rc));
}

static void *store_open(const char *path, enum durability durability)
{
    struct lmdb_store *s = calloc(1, sizeof *s);
    unsigned flags = MDB_NOSUBDIR | (durability == LAZY ? MDB_NOSYNC | MDB_WRITEMAP : 0);
    MDB_txn *txn;
    if (s == NULL) die("out of memory");
    must(mdb_env_create(&s->env), "create");
    must(mdb_env_set_mapsize(s->env, MAP_BYTES), "map size");
    must(mdb_env_open(s->env, path, flags, 0644), "open");
    must(mdb_txn_begin(s->env, NULL, 0, &txn), "begin");
    must(mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &s->dbi), "open table");
    must(mdb_txn_commit(txn), "commit");
    return s;
}

static void store_close(void *store)
{
    struct lmdb_store *s = store;
    mdb_env_close(s->env);
    free(s);
}

static void append(void *store, uint64_t count, uint64_t per_call)
{
    struct lmdb_store *s = store;
    for (uint64_t done = 0; done < count; done += per_call) {
        MDB_txn *txn;
        must(mdb_txn_begin(s->env, NULL, 0, &txn), "begin");
        for (uint64_t i = 0; i < per_call; i++, s->next++) {
            MDB_val key = {sizeof s->next, &s->next};
            MDB_val data = {RECORD_BYTES, (void *)(uintptr_t)payload(done + i)};
            must(mdb_put(txn, s->dbi, &key, &data, MDB_APPEND), "put");
        }
        must(mdb_txn_commit(txn), "commit");
    }
}

static void empty(void *store)
{
    struct lmdb_store *s = store;
    MDB_txn *txn;
    must(mdb_txn_begin(s->env, NULL, 0, &txn), "begin");
    must(mdb_drop(txn, s->dbi, 0), "drop");
    must(mdb_txn_commit(txn), "commit");
    s->next = 0;
}

static uint64_t read_all(void *store, bool checked)
{
    struct lmdb_store *s = store;
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, data;
    uint64_t total = 0, sum = 0;
    int rc;
    (void)checked; /* LMDB has no checksums */
    must(mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn), "begin");
    must(mdb_cursor_open(txn, s->dbi, &cursor), "cursor");
    while ((rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0) {
        const uint8_t *bytes = data.mv_data;
        sum += touch(bytes, KEY_BYTES, bytes + KEY_BYTES, data.mv_size - KEY_BYTES);
        total++;
    }
    if (rc != MDB_NOTFOUND) must(rc, "next");
    touched += sum;
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return total;
}

static const struct store_kind lmdb = {"lmdb", store_open, store_close, append, empty, read_all};
const struct store_kind *const store_lmdb = &lmdb;
#endif
