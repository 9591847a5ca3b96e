/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c - a main for fuzz targets that are built without libFuzzer: it runs every
 * file of the folders and files named, so that the kept corpus is a regression test.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned files;

static void run_file(const char *path)
{
    FILE *f = fopen(path, "rb");

    if (f == NULL)
        return;
    (void)fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
    if (data != NULL && size >= 0 && fread(data, 1, (size_t)size, f) == (size_t)size) {
        (void)LLVMFuzzerTestOneInput(data, (size_t)size);
        files++;
    }
    free(data);
    (void)fclose(f);
}

static void run_path(const char *path)
{
    DIR *dir = opendir(path);

    if (dir == NULL) {
        run_file(path);
        return;
    }
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        char name[4096];
        if (e->d_name[0] == '.')
            continue;
        (void)snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        run_file(name);
    }
    (void)closedir(dir);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (argv[i][0] != '-')
            run_path(argv[i]);
    printf("%u inputs replayed\n", files);
    return 0;
}
