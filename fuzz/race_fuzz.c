/* race_fuzz.c -- a file whose bytes change while it is opened and read
 *
 * The input is a file, as for the target `open`. While everything is read of it, another thread
 * writes into it through a mapping: numbers where numbers are, in the coordination area too when
 * somebody is said to have the file open. Any status is right, and so is any record; what was
 * checked once must not be used after it changed. What the thread does follows from the input, when
 * it does it does not. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bytes.h"
#include "format.h"
#include "image.h"
#include "look.h"

enum { SPOTS = 256, LOOKS = 2 };
#define IMAGE_WATCHED 8u /* a lock says that somebody has it open for writing */

static int fd = -1, owner = -1;

static struct {
    uint8_t *bytes; /* the file, shared */
    size_t size;
    uint32_t spots[SPOTS]; /* multiples of 4 where the input has bytes */
    uint32_t count;
    uint64_t dice;
    uint64_t old[SPOTS];
    atomic_bool stop;
} race;

static uint32_t roll(uint32_t limit)
{
    race.dice ^= race.dice << 13;
    race.dice ^= race.dice >> 7;
    race.dice ^= race.dice << 17;
    return (uint32_t)(race.dice >> 20) % limit;
}

/* One word, to something else or back to what it was. */
static void change(uint32_t spot)
{
    _Atomic uint32_t *word = (_Atomic uint32_t *)(void *)(race.bytes + race.spots[spot]);
    uint32_t value;
    switch (roll(6)) {
    case 0: value = 0; break;
    case 1: value = UINT32_MAX; break;
    case 2: value = atomic_load(word) + roll(64) - 32; break;
    case 3: value = (uint32_t)race.dice; break;
    default: value = (uint32_t)race.old[spot]; break;
    }
    atomic_store(word, value);
}

static void *writer(void *unused)
{
    while (!atomic_load(&race.stop)) {
        for (int i = 0; i < 20; i++) change(roll(race.count));
        sched_yield();
    }
    return unused;
}

/* Spots all over what is not zero; of the coordination area only where it counts. */
static void find_spots(bool coord)
{
    uint32_t seen = 0;
    race.count = 0;
    for (uint32_t at = 0; at + 4 <= race.size; at += 4) {
        uint32_t word = get_le32(race.bytes + at);
        if (word == 0 || (!coord && at >= COORD_AT && at < HEAP_AT)) continue;
        uint32_t slot = race.count < SPOTS ? race.count++ : roll(++seen + SPOTS);
        if (slot >= SPOTS) continue;
        race.spots[slot] = at;
        race.old[slot] = word;
    }
}

static void read_it(uint32_t flags, uint32_t open_flags)
{
    struct look look;
    beck_options options = {.size = sizeof options, .flags = open_flags, .busy_timeout_ms = 20};
    beck *db = NULL;
    if (beck_open(fuzz_path(), &options, &db) == BECK_OK) {
        look_at_all(db, flags, LOOK_CHANGING, &look);
        (void)look_check(db);
    }
    (void)beck_close(db);
}

/* The lock that a handle with slot 0 holds, so that readers look at the coordination area. */
static void watch(bool on)
{
    struct flock lock = {.l_type = on ? F_WRLCK : F_UNLCK, .l_whence = SEEK_SET};
    lock.l_start = (off_t)LOCK_SLOT0;
    lock.l_len = 1;
    if (fcntl(owner, F_OFD_SETLK, &lock) < 0) abort();
}

static void race_readers(uint8_t options)
{
    pthread_t thread;
    bool watched = (options & IMAGE_WATCHED) != 0;
    uint32_t flags = (options & IMAGE_UNCHECKED ? BECK_CONSUME_UNCHECKED : 0) |
                     (options & IMAGE_COPY ? BECK_CONSUME_COPY : 0);
    find_spots(watched);
    if (race.count == 0) return;
    watch(watched);
    atomic_store(&race.stop, false);
    if (pthread_create(&thread, NULL, writer, NULL) != 0) abort();
    for (int i = 0; i < LOOKS; i++) read_it(flags, BECK_OPEN_READONLY);
    read_it(flags, BECK_OPEN_OBSERVE);
    atomic_store(&race.stop, true);
    pthread_join(thread, NULL);
    watch(false);
}

#if defined(__SANITIZE_THREAD__)
#define RACES_ARE_ERRORS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RACES_ARE_ERRORS 1
#endif
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
#ifdef RACES_ARE_ERRORS
    puts("ThreadSanitizer would see what this is all about");
    exit(77); /* skipped */
#endif
    if (fd < 0) fd = open(fuzz_path(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (owner < 0) owner = open(fuzz_path(), O_RDWR | O_CLOEXEC);
    if (fd < 0 || owner < 0) abort();
    if (!image_write(fd, data, size)) return 0;
    race.size = (size_t)lseek(fd, 0, SEEK_END);
    if (race.size > IMAGE_BYTES) race.size = IMAGE_BYTES;
    if (race.size < 4096) return 0;
    race.bytes = mmap(NULL, race.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (race.bytes == MAP_FAILED) abort();
    race.dice = fuzz_sum(88172645463325252u, data, size) | 1;
    race_readers(data[0]);
    munmap(race.bytes, race.size);
    return 0;
}
