/* The lock is flock() on a file of the directory: the kernel lets it go when the process ends, however it ends. */

#include "base/mem.h"
#include "base/process.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATH_SIZE_MAX 4096
#define WALK_HANDLES_MAX 16

static enum err sync_names(const char *dir, struct errmsg *msg)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        int number = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return fail(msg, err_from_errno(number), "%s: %s", dir, strerror(number));
    }
    (void)close(fd);
    return OK;
}

/* Makes the directory's own name durable. */
static enum err sync_parent(const char *path, struct errmsg *msg)
{
    char parent[PATH_SIZE_MAX];
    (void)snprintf(parent, sizeof(parent), "%s/..", path);
    return sync_names(parent, msg);
}

static enum err make_parents(const char *path, struct errmsg *msg)
{
    char partial[PATH_SIZE_MAX];
    size_t size = strlen(path);
    if (size == 0 || size >= sizeof(partial)) {
        return fail(msg, ERR_INVALID, "a path has 1 to %d characters", PATH_SIZE_MAX - 1);
    }
    for (size_t i = 1; i <= size; i++) {
        if (path[i] != '/' && path[i] != '\0') {
            continue;
        }
        memcpy(partial, path, i);
        partial[i] = '\0';
        if (mkdir(partial, 0755) != 0 && errno != EEXIST) {
            return fail(msg, err_from_errno(errno), "%s: %s", partial, strerror(errno));
        }
    }
    return sync_parent(path, msg);
}

enum err process_lock_dir(const char *path, struct errmsg *msg)
{
    char file[PATH_SIZE_MAX];
    enum err err = make_parents(path, msg);
    if (err != OK) {
        return err;
    }
    (void)snprintf(file, sizeof(file), "%s/.lock", path);
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        return fail(msg, err_from_errno(errno), "%s: %s", file, strerror(errno));
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int number = errno;
        (void)close(fd);
        return fail(msg, number == EWOULDBLOCK ? ERR_BUSY : err_from_errno(number), "%s: %s", path,
                    number == EWOULDBLOCK ? "another process uses this data directory" : strerror(number));
    }
    /* cppcheck-suppress resourceLeak */
    return OK; /* the handle stays open for the life of the process: that is the lock */
}

void process_random(void *target, size_t size)
{
    uint8_t *at = target;
    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);
        if (got < 0 && errno != EINTR) {
            process_stop("getrandom: %s", strerror(errno));
        }
        if (got > 0) {
            at += got;
            size -= (size_t)got;
        }
    }
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *walk)
{
    (void)stat;
    (void)type;
    (void)walk;
    return remove(path);
}

enum err process_remove_tree(const char *path, struct errmsg *msg)
{
    if (nftw(path, remove_one, WALK_HANDLES_MAX, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT) {
        return fail(msg, err_from_errno(errno), "%s cannot be removed: %s", path, strerror(errno));
    }
    return OK;
}

enum err process_make_dir(const char *path, struct errmsg *msg)
{
    return make_parents(path, msg);
}

/* The directory that a name is in, whether or not the name is there. */
static enum err sync_dir_of(const char *path, struct errmsg *msg)
{
    char dir[PATH_SIZE_MAX];
    const char *slash = strrchr(path, '/');
    (void)snprintf(dir, sizeof(dir), "%.*s", slash != NULL ? (int)(slash - path) + 1 : 2, slash != NULL ? path : "./");
    return sync_names(dir, msg);
}

enum err process_move(const char *source, const char *target, struct errmsg *msg)
{
    if (rename(source, target) != 0) {
        return errno == ENOENT ? OK
                               : fail(msg, err_from_errno(errno), "%s cannot be renamed to %s: %s", source, target,
                                      strerror(errno));
    }
    enum err err = sync_dir_of(target, msg);
    return err == OK ? sync_dir_of(source, msg) : err;
}

void process_start_again(char **argv, struct errmsg *msg)
{
    (void)execv("/proc/self/exe", argv);
    (void)fail(msg, err_from_errno(errno), "/proc/self/exe: %s", strerror(errno));
}

enum err process_is_empty(const char *path, bool *is_empty, struct errmsg *msg)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    *is_empty = true;
    if (dir == NULL) {
        return errno == ENOENT ? OK : fail(msg, err_from_errno(errno), "%s: %s", path, strerror(errno));
    }
    errno = 0;
    while (*is_empty && (entry = readdir(dir)) != NULL) {
        *is_empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    }
    int number = errno;
    (void)closedir(dir);
    return number == 0 ? OK : fail(msg, err_from_errno(number), "%s: %s", path, strerror(number));
}

enum err process_read_file(const char *path, struct dynbuf *text, struct errmsg *msg)
{
    uint8_t chunk[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return fail(msg, err_from_errno(errno), "%s: %s", path, strerror(errno));
    }
    enum err err = OK;
    while (err == OK) {
        ssize_t size = read(fd, chunk, sizeof(chunk));
        if (size == 0) {
            break;
        }
        if (size < 0 && errno != EINTR) {
            err = fail(msg, err_from_errno(errno), "%s: %s", path, strerror(errno));
        } else if (size > 0 && dynbuf_put(text, (struct bytes){chunk, (size_t)size}) != OK) {
            err = fail(msg, ERR_TOO_LARGE, "%s: larger than %zu bytes", path, text->size_max);
        }
    }
    (void)close(fd);
    return err;
}

/* Not in the middle of an allocation: only LMDB reads mapped files. */
static void on_bus_error(int number, siginfo_t *info, void *context)
{
    static char line[4096 + 128];
    static bool is_entered;
    const unsigned long long at = (uintptr_t)info->si_addr;
    (void)context;
    while (__atomic_exchange_n(&is_entered, true, __ATOMIC_ACQ_REL)) {
        (void)pause(); /* another shard's thread tells, and ends the process */
    }
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        unsigned long long start;
        unsigned long long end;
        unsigned long long offset;
        int name = 0;
        if (sscanf(line, "%llx-%llx %*s %llx %*s %*s %n", &start, &end, &offset, &name) == 3 && at >= start &&
            at < end && line[name] == '/') {
            line[strcspn(line, "\n")] = '\0';
            (void)fprintf(stderr, "balsad: %s: position %llu: the file was cut, it ends before what is needed of it\n",
                          line + name, at - start + offset);
            _exit(1);
        }
    }
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

void process_explain_bus_errors(void)
{
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGBUS, &action, NULL);
}

unsigned process_cores(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (unsigned)count : 1;
}

int64_t process_monotonic_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t count_open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int64_t count = -3; /* ".", ".." and the directory itself */
    if (dir == NULL) {
        return 0;
    }
    while (readdir(dir) != NULL) {
        count++;
    }
    (void)closedir(dir);
    return count;
}

/* Start time: field 22 of stat, in ticks since the system's start; fields are counted behind the name's bracket. */
static int64_t started_s(void)
{
    char text[1024];
    struct timespec since_boot;
    struct timespec now;
    unsigned long long ticks = 0;
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (fd >= 0) {
        (void)close(fd);
    }
    text[size > 0 ? size : 0] = '\0';
    const char *at = strrchr(text, ')');
    if (at == NULL ||
        sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &ticks) != 1) {
        return 0;
    }
    (void)clock_gettime(CLOCK_BOOTTIME, &since_boot);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec - since_boot.tv_sec + (int64_t)(ticks / (unsigned long long)sysconf(_SC_CLK_TCK));
}

static int64_t resident_bytes(void)
{
    char text[128];
    long long pages = 0;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (fd >= 0) {
        (void)close(fd);
    }
    text[size > 0 ? size : 0] = '\0';
    return sscanf(text, "%*d %lld", &pages) == 1 ? pages * sysconf(_SC_PAGESIZE) : 0;
}

void process_usage(struct process_usage *usage)
{
    struct rusage times;
    struct rlimit files;
    *usage = (struct process_usage){
        .started_s = started_s(), .resident_bytes = resident_bytes(), .open_fds = count_open_fds()};
    if (getrusage(RUSAGE_SELF, &times) == 0) {
        usage->cpu_seconds = (double)(times.ru_utime.tv_sec + times.ru_stime.tv_sec) +
                             (double)(times.ru_utime.tv_usec + times.ru_stime.tv_usec) / 1e6;
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        usage->max_fds = (int64_t)files.rlim_cur;
    }
}
