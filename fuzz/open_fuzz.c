/* open_fuzz.c -- a whole file of a stranger: opened, read, recovered, appended to, opened again
 *
 * Whatever its bytes are: a status for each call, in bounded time and memory. And
 *
 *  - opening read-only leaves its bytes as they are, and shows the same each time
 *  - who opens it to write sees the same records, and so does everybody after he closed it
 *  - when beck_check calls it whole, what is appended to it is there afterwards, behind the rest */
#include <fcntl.h>
#include <unistd.h>

#include "image.h"
#include "look.h"

static int fd = -1;

static int open_file(uint32_t flags, beck **db)
{
    beck_options options = {.size = sizeof options, .flags = flags, .busy_timeout_ms = 1000};
    int rc = beck_open(fuzz_path(), &options, db);
    MUST_DB(*db, rc <= 0 && rc != BECK_INTERNAL && rc != BECK_NOMEM && rc != BECK_BUSY);
    return rc;
}

static uint64_t file_sum(void)
{
    static uint8_t bytes[1 << 16];
    uint64_t sum = (uint64_t)lseek(fd, 0, SEEK_END);
    ssize_t n;
    for (off_t at = 0; (n = pread(fd, bytes, sizeof bytes, at)) > 0; at += n)
        for (ssize_t i = 0; i + 8 <= n; i += 8) {
            uint64_t word;
            memcpy(&word, bytes + i, 8);
            sum = (sum << 1 | sum >> 63) + word;
        }
    return sum;
}

static uint32_t consume_flags(const uint8_t *data)
{
    return (data[0] & IMAGE_UNCHECKED ? BECK_CONSUME_UNCHECKED : 0) |
           (data[0] & IMAGE_COPY ? BECK_CONSUME_COPY : 0);
}

static int look_readonly(uint32_t flags, struct look *look)
{
    beck *db = NULL;
    uint64_t sum = file_sum();
    int rc = open_file(BECK_OPEN_READONLY, &db);
    if (rc == BECK_OK) {
        enum look_file file = look_check(db);
        look_at_all(db, flags, file, look);
    }
    MUST_DB(db, beck_close(db) == BECK_OK || rc < 0);
    MUST(file_sum() == sum);
    return rc;
}

static void look_from_outside(void)
{
    const beck_handle_info *const *handles;
    beck *db = NULL;
    size_t count;
    if (open_file(BECK_OPEN_OBSERVE, &db) == BECK_OK) (void)beck_handles(db, &handles, &count);
    (void)beck_close(db);
}

/* Append to every topic, and to a new one; how many records that were. */
static uint64_t append_everywhere(beck *db)
{
    static char names[LOOK_TOPICS_MAX][BECK_TOPIC_NAME_MAX + 1];
    const beck_topic_info *const *topics;
    beck_record record = {.key = "k", .key_size = 1, .value = "fuzz", .value_size = 4};
    uint64_t appended = 0;
    size_t count = 0;
    if (beck_topic_list(db, &topics, &count) < 0) return 0;
    if (count >= LOOK_TOPICS_MAX) count = LOOK_TOPICS_MAX - 1;
    for (size_t i = 0; i < count; i++) snprintf(names[i], sizeof names[i], "%s", topics[i]->name);
    snprintf(names[count], sizeof names[count], "fuzz-new");
    for (size_t i = 0; i <= count; i++) {
        beck_topic *topic = NULL;
        int64_t offset = -1;
        if (beck_topic_open(db, names[i], NULL, &topic) < 0) continue;
        int rc = beck_append(topic, &record, &offset);
        MUST_DB(db, rc != BECK_INTERNAL && rc != BECK_BUSY && rc <= 0);
        MUST_DB(db, rc < 0 || offset >= 0);
        appended += rc == BECK_OK;
    }
    return appended;
}

static void write_to_it(uint32_t flags, const struct look *before)
{
    struct look look, after;
    beck *db = NULL;
    if (open_file(BECK_OPEN_NO_CREATE, &db) < 0) {
        (void)beck_close(db);
        return;
    }
    enum look_file file = look_check(db);
    look_at_all(db, flags, file, &look);
    /* What is read without checks may be what recovery cuts off. */
    if (before->whole && look.whole && (flags & BECK_CONSUME_UNCHECKED) == 0) {
        MUST(before->count == look.count && before->records == look.records);
        MUST(before->topics == look.topics);
    }
    uint64_t appended = append_everywhere(db);
    int closed = beck_close(db);
    if (closed < 0 || look_readonly(flags, &after) < 0 || !after.whole || !look.whole) return;
    if (file == LOOK_SOUND) MUST(after.count == look.count + appended);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct look look = {0}, again = {0};
    if (fd < 0) fd = open(fuzz_path(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) abort();
    if (!image_write(fd, data, size)) return 0;
    uint32_t flags = consume_flags(data);
    int rc = look_readonly(flags, &look);
    MUST(look_readonly(flags, &again) == rc && again.records == look.records);
    look_from_outside();
    write_to_it(flags, &look);
    return 0;
}
