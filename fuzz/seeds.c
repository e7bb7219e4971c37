/* seeds.c -- seeds FOLDER: small beck files, made with the library, as inputs of the target `open`
 *
 * Each is made twice, closed and left by a process that ends at once. Values are mostly zeros,
 * which an input does not keep. */
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bytes.h"
#include "crc32c.h"
#include "format.h"
#include "image.h"

static beck *db;
static const char *folder;

static void must(int rc)
{
    if (rc >= 0) return;
    fprintf(stderr, "seeds: %s\n", beck_errmsg(db));
    exit(1);
}

static beck_topic *topic(const char *name, uint32_t sync, uint32_t partitions)
{
    beck_topic_config config = {
        .size = sizeof config, .sync = sync, .partitions = partitions, .segment_bytes = 16384};
    beck_topic *t = NULL;
    must(beck_topic_open(db, name, &config, &t));
    return t;
}

static void append(beck_topic *t, int32_t partition, uint32_t count, uint32_t bytes, uint32_t codec)
{
    static uint8_t value[20000];
    static int64_t time = 1700000000000;
    beck_header header = {"trace", "xyz", 5, 3};
    beck_append_options options = {.size = sizeof options, .compression = codec};
    beck_record records[16];
    for (uint32_t i = 0; i < count; i++) {
        records[i] =
            (beck_record){.key = "key", .value = value, .key_size = 3, .value_size = bytes};
        records[i].timestamp = time++;
        if (i % 2 == 1) records[i].headers = &header, records[i].header_count = 1;
        if (i % 3 == 1) records[i].key = NULL, records[i].key_size = 0;
        if (i % 5 == 4) records[i].value = NULL, records[i].value_size = 0;
    }
    value[bytes / 2] = (uint8_t)time;
    must(beck_append_with(t, partition, records, count, &options, NULL));
}

static void make_empty(void)
{
}

static void make_small(void)
{
    beck_topic *os = topic("os", BECK_SYNC_OS, 1);
    for (int i = 0; i < 3; i++) append(os, 0, 1, 10, 0);
}

static void make_partitions(void)
{
    beck_topic *t = topic("sync", BECK_SYNC_SYNC, 3);
    append(t, 0, 2, 10, 0);
    append(t, 2, 3, 100, 0);
    append(t, 0, 6, 5, 0);
}

static void make_sealed(void)
{
    beck_topic *t = topic("os", BECK_SYNC_OS, 1);
    for (int i = 0; i < 9; i++) append(t, 0, 2, 2500, 0);
}

static void make_sealed_sync(void)
{
    beck_topic *t = topic("sync", BECK_SYNC_SYNC, 2);
    for (int i = 0; i < 10; i++) append(t, i % 2, 1, 6000, 0);
    append(t, 0, 1, 19000, 0);
}

static void make_compressed(void)
{
    beck_topic *t = topic("packed", BECK_SYNC_OS, 1);
    for (uint32_t c = BECK_COMPRESSION_NONE; c <= BECK_COMPRESSION_ZSTD; c++)
        append(t, 0, 4, 400, c);
}

static void make_deleted(void)
{
    beck_topic *gone = topic("gone", BECK_SYNC_OS, 2);
    append(gone, 0, 1, 10, 0);
    append(topic("kept", BECK_SYNC_SYNC, 1), 0, 1, 10, 0);
    must(beck_topic_delete(db, "gone"));
    append(topic("gone", BECK_SYNC_OS, 1), 0, 1, 20, 0);
}

static void make_altered(void)
{
    beck_topic_config config = {.size = sizeof config, .partitions = 4, .flush_ms = 50};
    append(topic("changes", BECK_SYNC_OS, 1), 0, 1, 10, 0);
    config.compression = BECK_COMPRESSION_LZ4;
    must(beck_topic_alter(db, "changes", &config));
    append(topic("changes", BECK_SYNC_OS, 1), 3, 4, 200, 0);
}

/* The catalog goes on in its second segment. */
static void make_many(void)
{
    char name[BECK_TOPIC_NAME_MAX + 1];
    snprintf(name, sizeof name, "%0*d", BECK_TOPIC_NAME_MAX, 0);
    for (int i = 0; i < 34; i++) {
        must(beck_topic_create(db, name, NULL));
        must(beck_topic_delete(db, name));
    }
    append(topic("last", BECK_SYNC_SYNC, 1), 0, 1, 10, 0);
}

static const struct {
    const char *name;
    void (*make)(void);
} kinds[] = {{"empty", make_empty},
             {"small", make_small},
             {"partitions", make_partitions},
             {"sealed", make_sealed},
             {"sealed_sync", make_sealed_sync},
             {"compressed", make_compressed},
             {"deleted", make_deleted},
             {"altered", make_altered},
             {"many", make_many}};

/* What the file says of this machine is nobody's business; the loader fills it in. */
static void forget_machine(uint8_t *super)
{
    uint32_t crc;
    memset(super + 88, 0, 20);
    memset(super + 112, 0, 16);
    crc = crc32c(0, super, SUPER_BYTES - 4);
    put_le32(super + SUPER_BYTES - 4, crc);
}

static void write_input(const char *name, const char *how, bool crashed)
{
    static uint8_t out[1 << 20];
    char path[1024];
    struct image image = {.options = crashed ? IMAGE_TRUSTED : 0};
    int fd = open(fuzz_path(), O_RDONLY);
    image.size = (uint32_t)lseek(fd, 0, SEEK_END);
    image.bytes = calloc(1, IMAGE_BYTES);
    if (image.bytes == NULL || image.size > IMAGE_BYTES ||
        pread(fd, image.bytes, image.size, 0) != (ssize_t)image.size)
        exit(1);
    close(fd);
    forget_machine(image.bytes + SUPER_A_AT);
    forget_machine(image.bytes + SUPER_B_AT);
    size_t size = image_encode(&image, out, sizeof out);
    snprintf(path, sizeof path, "%s/%s_%s", folder, name, how);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(out, 1, size, file) != size || fclose(file) != 0) exit(1);
    free(image.bytes);
}

static void make(size_t kind, bool crashed)
{
    int status = 0;
    unlink(fuzz_path());
    fflush(stdout);
    pid_t child = fork(); /* what it leaves behind is what kill -9 would */
    if (child == 0) {
        must(beck_open(fuzz_path(), NULL, &db));
        kinds[kind].make();
        _exit(crashed ? 0 : beck_close(db) != 0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) exit(1);
    write_input(kinds[kind].name, crashed ? "crashed" : "closed", crashed);
}

int main(int argc, char **argv)
{
    if (argc != 2) return 64;
    folder = argv[1];
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (int crashed = 0; crashed < 2; crashed++) make(i, crashed);
    return 0;
}
