/* hostile.c -- somebody who may only read a file, and uses that against those who write it
 *
 *     hostile locks FILE FROM LENGTH    shared locks on these bytes (0 = all there are), flock, and
 *                                       a mapping of the file, until it is killed
 *     hostile wakes FILE                wakes everybody who sleeps on a word of the file, and moves
 *                                       sleepers to a word of his own, until it is killed
 *
 * Prints `ready` when it has begun. It knows where the words are: the catalog's cell, and the cells
 * of the first extents. */
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { AREA = 65536, DIRECTORY = AREA + 8192, BLOCK = 16384, CELLS_BYTES = 1024, EXTENTS = 4 };

static void ready(void)
{
    printf("ready\n");
    fflush(stdout);
}

/* 1 = locked, 0 = somebody has it */
static int lock(int fd, short type, off_t from, off_t length)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = from, .l_len = length};
    return fcntl(fd, F_OFD_SETLK, &l) == 0;
}

/* All that can be had: the slots of others are locked for writing. */
static int locks(int fd, off_t from, off_t length)
{
    const off_t gate = (off_t)1 << 62;
    int got = 0;
    if (length > 0) {
        for (off_t i = 0; i < length; i++) got += lock(fd, F_RDLCK, from + i, 1);
    } else {
        got += lock(fd, F_RDLCK, 0, gate);
        for (off_t i = 0; i < 16 + 1024; i++) got += lock(fd, F_RDLCK, gate + i, 1);
        got += lock(fd, F_RDLCK, gate + 16 + 1024, 0);
    }
    if (got == 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || lock(fd, F_WRLCK, 0, 1)) {
        fprintf(stderr, "hostile: %d locks\n", got);
        return 1;
    }
    ready();
    for (;;) pause();
}

static void disturb(const uint8_t *words, size_t bytes, uint32_t *own)
{
    for (size_t at = 0; at < bytes; at += 4) {
        const uint32_t *word = (const uint32_t *)(const void *)(words + at);
        uint32_t value = *(const volatile uint32_t *)word;
        (void)syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
        (void)syscall(SYS_futex, word, FUTEX_CMP_REQUEUE, 0, (void *)(uintptr_t)INT_MAX, own,
                      value);
    }
}

static int wakes(const uint8_t *data, size_t bytes)
{
    uint32_t *own = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (own == MAP_FAILED) return 1;
    ready();
    for (;;) {
        disturb(data + AREA, 256, own);        /* the header, with its bell */
        disturb(data + AREA + 4096, 256, own); /* the catalog's cell */
        for (int i = 0; i < EXTENTS; i++) {
            uint32_t block;
            memcpy(&block, data + DIRECTORY + 4 * i, 4);
            size_t at = (size_t)block * BLOCK;
            if (block != 0 && at + CELLS_BYTES <= bytes) disturb(data + at, CELLS_BYTES, own);
        }
    }
}

int main(int argc, char **argv)
{
    struct stat st;
    int fd = argc > 2 ? open(argv[2], O_RDONLY) : -1;
    if (fd < 0 || fstat(fd, &st) < 0) return 2;
    void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED || open(argv[2], O_RDWR) >= 0) {
        fprintf(stderr, "hostile: cannot read, or can write\n");
        return 2;
    }
    if (strcmp(argv[1], "wakes") == 0) return wakes(data, (size_t)st.st_size);
    if (argc == 5) return locks(fd, atoll(argv[3]), atoll(argv[4]));
    return 2;
}
