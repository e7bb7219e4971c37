/* replay.c -- a fuzz target without libFuzzer: each file that is named, or the kept corpus, once */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"

static unsigned count;

static void replay(const char *path)
{
    struct stat st;
    FILE *file = fopen(path, "rb");
    if (file == NULL || fstat(fileno(file), &st) < 0) {
        perror(path);
        exit(1);
    }
    size_t size = (size_t)st.st_size;
    uint8_t *data = malloc(size); /* no byte too many: sanitizers see what is read behind it */
    if (size > 0 && (data == NULL || fread(data, 1, size, file) != size)) {
        perror(path);
        exit(1);
    }
    fclose(file);
    printf("%s\n", path);
    fflush(stdout); /* the last name printed is the input that ended the process */
    (void)LLVMFuzzerTestOneInput(data, size);
    free(data);
    count++;
}

static int named(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void replay_folder(const char *folder)
{
    struct dirent **names = NULL;
    char path[1024];
    int n = scandir(folder, &names, named, alphasort);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        replay(path);
        free(names[i]);
    }
    free(names);
}

/* build/.../NAME_fuzz without arguments replays fuzz/corpus/NAME. */
int main(int argc, char **argv)
{
    char folder[256];
    const char *slash = strrchr(argv[0], '/'), *name = slash == NULL ? argv[0] : slash + 1;
    snprintf(folder, sizeof folder, "fuzz/corpus/%.*s", (int)strcspn(name, "_"), name);
    for (int i = 1; i < argc; i++) replay(argv[i]);
    if (argc == 1) replay_folder(folder);
    printf("%u inputs\n", count);
    return count == 0;
}
