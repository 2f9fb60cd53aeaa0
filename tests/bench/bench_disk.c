/* What the disk itself gives: overwrites of a preallocated file with O_DIRECT|O_DSYNC, one after the other, as the
 * write-ahead log does.     bench_disk [--size BYTES] [--seconds N] [--dir DIR] The size is rounded up to 4 KiB. Prints
 * the time of one write, writes and megabytes a second. */

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FILE_SIZE ((off_t)256 << 20)
#define FILL_SIZE ((size_t)1 << 20)

static double now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void write_all(int fd, const char *data, size_t size, off_t position)
{
    if (pwrite(fd, data, size, position) != (ssize_t)size) {
        die("bench_disk: write");
    }
}

int main(int argc, char **argv)
{
    size_t size = 65536;
    double seconds = 2;
    const char *dir = ".";
    char path[4096];
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--size") == 0) {
            size = (strtoul(argv[i + 1], NULL, 10) + 4095) / 4096 * 4096;
        } else if (strcmp(argv[i], "--seconds") == 0) {
            seconds = strtod(argv[i + 1], NULL);
        } else if (strcmp(argv[i], "--dir") == 0) {
            dir = argv[i + 1];
        }
    }
    (void)snprintf(path, sizeof(path), "%s/bench_disk.%ld.tmp", dir, (long)getpid());
    char *data = NULL;
    if (size == 0 || size > (size_t)FILE_SIZE ||
        posix_memalign((void **)&data, 4096, size > FILL_SIZE ? size : FILL_SIZE) != 0) {
        die("bench_disk: size");
    }
    memset(data, 0, size > FILL_SIZE ? size : FILL_SIZE);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    for (off_t at = 0; fd >= 0 && at < FILE_SIZE; at += (off_t)FILL_SIZE) {
        write_all(fd, data, FILL_SIZE, at);
    }
    if (fd < 0 || fsync(fd) != 0 || close(fd) != 0) {
        die("bench_disk: prepare");
    }
    fd = open(path, O_RDWR | O_DIRECT | O_DSYNC);
    if (fd < 0) {
        die("bench_disk: O_DIRECT");
    }
    double start = now_s();
    long writes = 0;
    off_t at = 0;
    while (now_s() - start < seconds) {
        write_all(fd, data, size, at);
        at = at + 2 * (off_t)size > FILE_SIZE ? 0 : at + (off_t)size;
        writes++;
    }
    double took = now_s() - start;
    printf("write_bytes=%zu writes_per_s=%.0f mb_per_s=%.1f write_us=%.1f\n", size, (double)writes / took,
           (double)writes * (double)size / took / 1e6, took / (double)writes * 1e6);
    (void)close(fd);
    (void)unlink(path);
    free(data);
    return 0;
}
