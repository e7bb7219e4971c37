/* peer_sqlite.c -- SQLite as a store: WAL, one table, prepared statements */
#include "bench.h"

#ifndef HAVE_SQLITE
const struct store_kind *const store_sqlite = NULL;
#else

#include <sqlite3.h>
#include <stdlib.h>

struct sqlite_store {
    sqlite3 *db;
    sqlite3_stmt *insert, *select, *begin, *commit;
};

static void must(struct sqlite_store *s, int rc, const char *what)
{
    if (rc != SQLITE_OK && rc != SQLITE_DONE) die("sqlite: %s: %s", what, sqlite3_errmsg(s->db));
}

static void run(struct sqlite_store *s, const char *sql)
{
    must(s, sqlite3_exec(s->db, sql, NULL, NULL, NULL), sql);
}

static void prepare(struct sqlite_store *s, const char *sql, sqlite3_stmt **statement)
{
    must(s, sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL), sql);
}

static void step(struct sqlite_store *s, sqlite3_stmt *statement)
{
    must(s, sqlite3_step(statement), "step");
    sqlite3_reset(statement);
}

static void *store_open(const char *path, enum durability durability)
{
    struct sqlite_store *s = calloc(1, sizeof *s);
    if (s == NULL) die("out of memory");
    must(s, sqlite3_open(path, &s->db), "open");
    run(s, "PRAGMA journal_mode=WAL");
    run(s, durability == LAZY ? "PRAGMA synchronous=OFF" : "PRAGMA synchronous=FULL");
    run(s, "CREATE TABLE IF NOT EXISTS r(id INTEGER PRIMARY KEY, k BLOB, v BLOB)");
    prepare(s, "INSERT INTO r(k, v) VALUES(?1, ?2)", &s->insert);
    prepare(s, "SELECT k, v FROM r ORDER BY id", &s->select);
    prepare(s, "BEGIN IMMEDIATE", &s->begin);
    prepare(s, "COMMIT", &s->commit);
    return s;
}

static void store_close(void *store)
{
    struct sqlite_store *s = store;
    sqlite3_finalize(s->insert);
    sqlite3_finalize(s->select);
    sqlite3_finalize(s->begin);
    sqlite3_finalize(s->commit);
    must(s, sqlite3_close(s->db), "close");
    free(s);
}

static void append(void *store, uint64_t count, uint64_t per_call)
{
    struct sqlite_store *s = store;
    for (uint64_t done = 0; done < count; done += per_call) {
        if (per_call > 1) step(s, s->begin);
        for (uint64_t i = 0; i < per_call; i++) {
            const uint8_t *bytes = payload(done + i);
            sqlite3_bind_blob(s->insert, 1, bytes, KEY_BYTES, SQLITE_STATIC);
            sqlite3_bind_blob(s->insert, 2, bytes + KEY_BYTES, VALUE_BYTES, SQLITE_STATIC);
            step(s, s->insert);
        }
        if (per_call > 1) step(s, s->commit);
    }
}

static void empty(void *store)
{
    run(store, "DELETE FROM r");
}

static uint64_t read_all(void *store, bool checked)
{
    struct sqlite_store *s = store;
    uint64_t total = 0, sum = 0;
    int rc;
    (void)checked; /* SQLite has no checksums of its own */
    while ((rc = sqlite3_step(s->select)) == SQLITE_ROW) {
        const uint8_t *key = sqlite3_column_blob(s->select, 0);
        const uint8_t *value = sqlite3_column_blob(s->select, 1);
        sum += touch(key, (size_t)sqlite3_column_bytes(s->select, 0), value,
                     (size_t)sqlite3_column_bytes(s->select, 1));
        total++;
    }
    must(s, rc, "select");
    sqlite3_reset(s->select);
    touched += sum;
    return total;
}

static const struct store_kind sqlite = {"sqlite", store_open, store_close,
                                         append,   empty,      read_all};
const struct store_kind *const store_sqlite = &sqlite;
#endif
