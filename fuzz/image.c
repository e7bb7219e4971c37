/* image.c -- a beck file as a short input */
#include "image.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "crc32c.h"
#include "format.h"
#include "os.h"

enum { HEAD_BYTES = 5, RUN_BYTES = 6, RUN_MAX = UINT16_MAX, ZEROS_BETWEEN = 12 };
#define FILE_BYTES_MAX (64u << 20)

/* ---- A path ---- */

static char path[512];

static void remove_path(void)
{
    (void)unlink(path);
}

const char *fuzz_path(void)
{
    if (path[0] != 0) return path;
    const char *folder = getenv("TMPDIR");
    if (access("/dev/shm", W_OK) == 0) folder = "/dev/shm";
    snprintf(path, sizeof path, "%s/beck-fuzz-%ld", folder == NULL ? "/tmp" : folder,
             (long)getpid());
    remove_path();
    atexit(remove_path);
    /* A catalog may say that the file is 64 TiB long; whoever writes to it makes it so. */
    struct rlimit limit = {FILE_BYTES_MAX, FILE_BYTES_MAX};
    if (setrlimit(RLIMIT_FSIZE, &limit) < 0 || signal(SIGXFSZ, SIG_IGN) == SIG_ERR) abort();
    return path;
}

/* ---- Runs ---- */

/* The next run of the input: its bytes, cut to the image; false at the end. */
static bool next_run(const uint8_t **data, size_t *left, uint32_t *at, const uint8_t **bytes,
                     size_t *length)
{
    if (*left <= RUN_BYTES) return false;
    *at = get_le32(*data) % IMAGE_BYTES;
    *length = get_le16(*data + 4);
    *bytes = *data + RUN_BYTES;
    if (*length > *left - RUN_BYTES) *length = *left - RUN_BYTES;
    *data += RUN_BYTES + *length;
    *left -= RUN_BYTES + *length;
    if (*length > IMAGE_BYTES - *at) *length = IMAGE_BYTES - *at;
    return true;
}

void image_decode(struct image *image, const uint8_t *data, size_t size)
{
    const uint8_t *bytes;
    uint32_t at;
    size_t length;
    if (size < HEAD_BYTES) return;
    image->options = data[0];
    image->size = get_le32(data + 1) % IMAGE_SIZE_MAX;
    data += HEAD_BYTES;
    size -= HEAD_BYTES;
    while (next_run(&data, &size, &at, &bytes, &length)) memcpy(image->bytes + at, bytes, length);
}

void image_clear(struct image *image)
{
    for (uint32_t at = 0; at < IMAGE_BYTES; at += 4096)
        if (image->bytes[at] != 0 ||
            memcmp(image->bytes + at, image->bytes + at + 1, 4096 - 1) != 0)
            memset(image->bytes + at, 0, 4096);
}

/* The end of the run that begins at `from`: so many zeros follow that another one is shorter. */
static uint32_t run_end(const struct image *image, uint32_t from, uint32_t limit)
{
    uint32_t end = from + 1;
    for (uint32_t at = end; at < limit && at - end < ZEROS_BETWEEN && at - from < RUN_MAX; at++)
        if (image->bytes[at] != 0) end = at + 1;
    return end;
}

size_t image_encode(const struct image *image, uint8_t *data, size_t room)
{
    uint32_t limit = image->size < IMAGE_BYTES ? image->size : IMAGE_BYTES;
    size_t used = HEAD_BYTES;
    if (room < HEAD_BYTES) return 0;
    data[0] = image->options;
    put_le32(data + 1, image->size);
    for (uint32_t at = 0; at < limit; at++) {
        if (at + 8 < limit && get_le64(image->bytes + at) == 0) {
            at += 7;
            continue;
        }
        if (image->bytes[at] == 0) continue;
        uint32_t end = run_end(image, at, limit);
        if (room - used < RUN_BYTES + (end - at)) return 0;
        put_le32(data + used, at);
        put_le16(data + used + 4, (uint16_t)(end - at));
        memcpy(data + used + RUN_BYTES, image->bytes + at, end - at);
        used += RUN_BYTES + (end - at);
        at = end - 1;
    }
    return used;
}

/* ---- The file ---- */

static bool trust(int fd, uint64_t at)
{
    uint8_t super[SUPER_BYTES];
    struct os_file file = {.fd = fd};
    struct os_identity id;
    if (pread(fd, super, sizeof super, (off_t)at) != sizeof super) return true; /* a short file */
    if (get_le32(super + 64) != SUPER_UNCLEAN || get_le32(super + 252) != crc32c(0, super, 252))
        return true;
    if (os_identity(&file, &id) < 0) return false;
    put_le64(super + 88, id.inode);
    put_le64(super + 96, (uint64_t)id.birth_s);
    put_le32(super + 104, id.birth_ns);
    os_boot_id(super + 112);
    put_le32(super + 252, crc32c(0, super, 252));
    return pwrite(fd, super, sizeof super, (off_t)at) == sizeof super;
}

bool image_write(int fd, const uint8_t *data, size_t size)
{
    const uint8_t *bytes;
    uint32_t at;
    size_t length;
    if (size < HEAD_BYTES) return false;
    uint32_t file_size = get_le32(data + 1) % IMAGE_SIZE_MAX;
    bool trusted = (data[0] & IMAGE_TRUSTED) != 0;
    if (ftruncate(fd, 0) < 0) return false;
    data += HEAD_BYTES;
    size -= HEAD_BYTES;
    while (next_run(&data, &size, &at, &bytes, &length))
        if (pwrite(fd, bytes, length, (off_t)at) != (ssize_t)length) return false;
    if (ftruncate(fd, (off_t)file_size) < 0) return false;
    return !trusted || (trust(fd, SUPER_A_AT) && trust(fd, SUPER_B_AT));
}
