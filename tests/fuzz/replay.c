/* Runs a fuzz target over every file of the folders that are named: what was once found stays
 * found. One line of TAP for each file. */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"

enum { INPUT_MAX = 1 << 20 };

static int replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(INPUT_MAX);
    size_t size;

    if (!file || !data)
        return 1;
    size = fread(data, 1, INPUT_MAX, file);
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_input(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

int main(int argc, char **argv)
{
    struct dirent **entries;
    int n = argc == 2 ? scandir(argv[1], &entries, is_input, by_name) : -1;
    int failed = 0;

    if (n <= 0) {
        printf("Bail out! no inputs\n");
        return 1;
    }
    printf("1..%d\n", n);
    for (int i = 0; i < n; i++) {
        char path[4096];
        int r;

        snprintf(path, sizeof(path), "%s/%s", argv[1], entries[i]->d_name);
        r = replay(path);
        printf("%s %d - %s\n", r == 0 ? "ok" : "not ok", i + 1, entries[i]->d_name);
        fflush(stdout);
        failed += r;
        free(entries[i]);
    }
    free(entries);
    return failed > 0;
}
