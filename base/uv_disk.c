/* Happy path: blocking calls are plain system calls, safe on any thread. A durable write is handed to the env's writer
 * thread, which writes it to an O_DSYNC file and hands it back through an async handle of the loop; reads that may wait
 * go to libuv's pool.
 *
 * Why a thread of its own for writes: a group commit waits for nobody else's cold read, and order comes for free.
 * Failure: a failed durable write is repeated as the answer to all later ones. Nothing is ever retried: after a failed
 * sync the kernel may have dropped the dirty pages, a second sync would succeed and lie. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "base/uv_internal.h"

enum {
    FILE_MODE = 0640,
    DIRECTORY_MODE = 0750,
    IOV_COUNT_MAX = 64
};

/* ---- Blocking calls */

static enum err disk_open(struct disk *disk, const char *path, unsigned flags, int *file, struct errmsg *msg)
{
    (void)disk;
    int mode = O_CLOEXEC | ((flags & DISK_READ_ONLY) != 0 ? O_RDONLY : O_RDWR);
    mode |= (flags & DISK_CREATE) != 0 ? O_CREAT : 0;
    mode |= (flags & DISK_EXCLUSIVE) != 0 ? O_EXCL : 0;
    int fd = -1;
    if ((flags & DISK_DIRECT) != 0) {
        mode |= O_DSYNC;
        fd = open(path, mode | O_DIRECT, FILE_MODE);
        if (fd < 0 && errno == EINVAL) {
            /* The refusal may come after the file was made, so O_EXCL would now find it. */
            trace(INFO, DISK, "no direct writes on this file system", KV("path", path));
            fd = open(path, mode & ~O_EXCL, FILE_MODE);
        }
    } else {
        fd = open(path, mode, FILE_MODE);
    }
    if (fd < 0) {
        return fail(msg, err_from_errno(errno), "open %s: %m", path);
    }
    *file = fd;
    return OK;
}

static void disk_close(struct disk *disk, int file)
{
    (void)disk;
    int failed = close(file);
    assert(failed == 0 || errno != EBADF);
}

static enum err disk_size(struct disk *disk, int file, uint64_t *size)
{
    (void)disk;
    struct stat stat;
    if (fstat(file, &stat) != 0) {
        return err_from_errno(errno);
    }
    *size = (uint64_t)stat.st_size;
    return OK;
}

static enum err disk_truncate(struct disk *disk, int file, uint64_t size)
{
    (void)disk;
    return ftruncate(file, (off_t)size) == 0 ? OK : err_from_errno(errno);
}

static enum err disk_allocate(struct disk *disk, int file, uint64_t size)
{
    (void)disk;
    while (fallocate(file, 0, 0, (off_t)size) != 0) {
        if (errno == EOPNOTSUPP || errno == ENOSYS) {
            return ERR_UNSUPPORTED;
        }
        if (errno != EINTR) {
            return err_from_errno(errno);
        }
    }
    return OK;
}

/* Copies what is left of the iov, from the byte `skip` of its first element on. */
static int iov_window(struct iovec window[IOV_COUNT_MAX], const struct iovec *iov, int count, size_t skip)
{
    int used = count < IOV_COUNT_MAX ? count : IOV_COUNT_MAX;
    memcpy(window, iov, (size_t)used * sizeof(window[0]));
    window[0].iov_base = (uint8_t *)window[0].iov_base + skip;
    window[0].iov_len -= skip;
    return used;
}

/* Some file systems take O_DIRECT at open and refuse it at the first write. The file stays O_DSYNC. */
static bool give_up_direct(int file)
{
    int mode = fcntl(file, F_GETFL);
    if (mode < 0 || (mode & O_DIRECT) == 0 || fcntl(file, F_SETFL, mode & ~O_DIRECT) != 0) {
        return false;
    }
    trace(INFO, DISK, "direct write refused, the file is now written through the page cache", KV("file", file));
    return true;
}

static enum err disk_pwritev(struct disk *disk, int file, uint64_t position, const struct iovec *iov, int count)
{
    (void)disk;
    struct iovec window[IOV_COUNT_MAX];
    size_t skip = 0;
    for (;;) {
        while (count > 0 && skip == iov->iov_len) {
            iov++;
            count--;
            skip = 0;
        }
        if (count == 0) {
            return OK;
        }
        ssize_t wrote = pwritev(file, window, iov_window(window, iov, count, skip), (off_t)position);
        if (wrote < 0) {
            if (errno == EINTR || (errno == EINVAL && give_up_direct(file))) {
                continue;
            }
            return err_from_errno(errno);
        }
        position += (uint64_t)wrote;
        size_t left = (size_t)wrote;
        while (left > 0) {
            size_t step = iov->iov_len - skip;
            if (left < step) {
                skip += left;
                break;
            }
            left -= step;
            iov++;
            count--;
            skip = 0;
        }
    }
}

static enum err disk_pread(struct disk *disk, int file, uint64_t position, void *data, size_t size, size_t *got)
{
    (void)disk;
    *got = 0;
    while (*got < size) {
        ssize_t count = pread(file, (uint8_t *)data + *got, size - *got, (off_t)(position + *got));
        if (count < 0) {
            if (errno == EINTR) {
                continue;
            }
            return err_from_errno(errno);
        }
        if (count == 0) {
            break;
        }
        *got += (size_t)count;
    }
    return OK;
}

static enum err disk_pread_nowait(struct disk *disk, int file, uint64_t position, void *data, size_t size, size_t *got)
{
    struct iovec iov = {.iov_base = data, .iov_len = size};
    *got = 0;
    for (;;) {
        ssize_t count = preadv2(file, &iov, 1, (off_t)position, RWF_NOWAIT);
        if (count >= 0) {
            *got = (size_t)count;
            return OK;
        }
        if (errno == EOPNOTSUPP) {
            return disk_pread(disk, file, position, data, size, got);
        }
        if (errno != EINTR) {
            return err_from_errno(errno);
        }
    }
}

static enum err disk_sync(struct disk *disk, int file)
{
    (void)disk;
    return fdatasync(file) == 0 ? OK : err_from_errno(errno);
}

/* Linux tells a failed write-back once to each open file: whoever is told here takes it from the fdatasync to come. */
static enum err range_sync(const struct disk_range *range, unsigned flags)
{
    int rv = sync_file_range(range->file, (off_t)range->position, (off_t)range->size, flags);
    bool is_failed = rv != 0 && (errno == EIO || errno == ENOSPC || errno == EDQUOT);
    return is_failed ? err_from_errno(errno) : OK;
}

/* All are started before the first is waited for: the device has them at the same time. */
static enum err disk_write_out(struct disk *disk, const struct disk_range *ranges, unsigned count)
{
    (void)disk;
    enum err err = OK;
    for (unsigned i = 0; i < count && err == OK; i++) {
        err = range_sync(&ranges[i], SYNC_FILE_RANGE_WRITE);
    }
    for (unsigned i = 0; i < count && err == OK; i++) {
        err = range_sync(&ranges[i], SYNC_FILE_RANGE_WAIT_BEFORE);
    }
    return err;
}

static enum err disk_rename(struct disk *disk, const char *source, const char *target)
{
    (void)disk;
    return rename(source, target) == 0 ? OK : err_from_errno(errno);
}

static enum err disk_link(struct disk *disk, const char *source, const char *target)
{
    (void)disk;
    if (link(source, target) == 0) {
        return OK;
    }
    bool is_unable = errno == EPERM || errno == EOPNOTSUPP || errno == EXDEV || errno == EMLINK || errno == ENOSYS;
    return is_unable ? ERR_UNSUPPORTED : err_from_errno(errno);
}

static enum err disk_unlink(struct disk *disk, const char *path)
{
    (void)disk;
    return remove(path) == 0 ? OK : err_from_errno(errno);
}

static enum err make_directory(const char *path)
{
    if (mkdir(path, DIRECTORY_MODE) == 0) {
        return OK;
    }
    int number = errno;
    struct stat stat_;
    bool is_there = number == EEXIST && stat(path, &stat_) == 0 && S_ISDIR(stat_.st_mode);
    return is_there ? OK : err_from_errno(number);
}

static enum err disk_mkdir(struct disk *disk, const char *path)
{
    (void)disk;
    enum err err = make_directory(path);
    if (err != ERR_NOT_FOUND) {
        return err;
    }
    char *prefix = mem_strdup(path);
    for (char *slash = strchr(prefix + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        err = make_directory(prefix);
        *slash = '/';
        if (err != OK) {
            break;
        }
    }
    mem_free(prefix);
    return err == OK ? make_directory(path) : err;
}

static enum err disk_sync_dir(struct disk *disk, const char *path)
{
    (void)disk;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    enum err err = fsync(fd) == 0 ? OK : err_from_errno(errno);
    close(fd);
    return err;
}

static enum err disk_list(struct disk *disk, const char *path, disk_list_cb cb, void *context)
{
    (void)disk;
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return err_from_errno(errno);
    }
    enum err err = OK;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(directory);
        if (entry == NULL) {
            err = errno == 0 ? OK : err_from_errno(errno);
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        struct stat stat;
        if (fstatat(dirfd(directory), entry->d_name, &stat, AT_SYMLINK_NOFOLLOW) != 0) {
            if (errno == ENOENT) {
                continue; /* removed since it was listed */
            }
            err = err_from_errno(errno);
            break;
        }
        cb(entry->d_name, (uint64_t)stat.st_size, S_ISDIR(stat.st_mode), context);
    }
    closedir(directory);
    return err;
}

static enum err disk_free_space(struct disk *disk, const char *path, uint64_t *size)
{
    (void)disk;
    struct statvfs stat;
    if (statvfs(path, &stat) != 0) {
        return err_from_errno(errno);
    }
    *size = (uint64_t)stat.f_bavail * stat.f_frsize;
    return OK;
}

static enum err disk_total_space(struct disk *disk, const char *path, uint64_t *size)
{
    (void)disk;
    struct statvfs stat;
    if (statvfs(path, &stat) != 0) {
        return err_from_errno(errno);
    }
    *size = (uint64_t)stat.f_blocks * stat.f_frsize;
    return OK;
}

/* ---- Durable writes */

static enum err write_durably(const struct disk_write *req)
{
    int mode = fcntl(req->file, F_GETFL);
    assert(mode >= 0 && (mode & O_DSYNC) != 0); /* opened with DISK_DIRECT */
    size_t done = 0;
    while (done < req->bytes.size) {
        ssize_t wrote =
            pwrite(req->file, req->bytes.data + done, req->bytes.size - done, (off_t)(req->position + done));
        if (wrote > 0) {
            done += (size_t)wrote;
        } else if (wrote == 0) {
            return ERR_IO;
        } else if (errno != EINTR && !(errno == EINVAL && give_up_direct(req->file))) {
            return err_from_errno(errno);
        }
    }
    return OK;
}

static void *writer_main(void *context)
{
    struct uv_writer *writer = context;
    pthread_mutex_lock(&writer->mutex);
    for (;;) {
        while (list_is_empty(&writer->queued) && !writer->is_stopping) {
            pthread_cond_wait(&writer->is_wanted, &writer->mutex);
        }
        struct list *link = list_pop(&writer->queued);
        if (link == NULL) {
            break;
        }
        pthread_mutex_unlock(&writer->mutex);
        struct disk_write *req = container_of(link, struct disk_write, link);
        if (writer->failed == OK) {
            writer->failed = write_durably(req);
        }
        req->err = writer->failed;
        pthread_mutex_lock(&writer->mutex);
        bool was_empty = list_is_empty(&writer->completed);
        list_push(&writer->completed, &req->link);
        if (was_empty) {
            pthread_mutex_unlock(&writer->mutex); /* the loop, once awake, wants it at once */
            uv_async_send(&writer->async);
            pthread_mutex_lock(&writer->mutex);
        }
    }
    pthread_mutex_unlock(&writer->mutex);
    return NULL;
}

static void writer_on_completed(uv_async_t *async)
{
    struct uv_writer *writer = container_of(async, struct uv_writer, async);
    struct list batch;
    list_init(&batch);
    pthread_mutex_lock(&writer->mutex);
    list_move_all(&batch, &writer->completed);
    pthread_mutex_unlock(&writer->mutex);
    for (struct list *link = list_pop(&batch); link != NULL; link = list_pop(&batch)) {
        struct disk_write *req = container_of(link, struct disk_write, link);
        writer->in_flight--;
        if (writer->in_flight == 0) {
            uv_unref((uv_handle_t *)&writer->async);
        }
        req->cb(req, req->err);
    }
}

static void disk_write(struct disk *disk, struct disk_write *req)
{
    struct uv_writer *writer = &container_of(disk, struct uv_disk, disk)->writer;
    assert(req->bytes.size > 0);
    assert(req->bytes.size % DISK_ALIGNMENT == 0);
    assert(req->position % DISK_ALIGNMENT == 0);
    assert((uintptr_t)req->bytes.data % DISK_ALIGNMENT == 0);
    if (writer->in_flight == 0) {
        uv_ref((uv_handle_t *)&writer->async); /* a stopped loop still waits for it */
    }
    writer->in_flight++;
    pthread_mutex_lock(&writer->mutex);
    list_push(&writer->queued, &req->link);
    pthread_mutex_unlock(&writer->mutex);
    pthread_cond_signal(&writer->is_wanted);
}

/* ---- Reads that may wait */

struct uv_read {
    uv_work_t request;
    struct uv_disk *disk;
    struct disk_read *req;
    enum err err;
};

static void read_run(uv_work_t *request)
{
    struct uv_read *read = container_of(request, struct uv_read, request);
    struct disk_read *req = read->req;
    read->err = disk_pread(&read->disk->disk, req->file, req->position, req->data, req->size, &req->got);
}

static void read_done(uv_work_t *request, int status)
{
    struct uv_read *read = container_of(request, struct uv_read, request);
    struct disk_read *req = read->req;
    enum err err = read->err;
    assert(status == 0); /* never canceled */
    mem_free(read);
    req->handle = NULL;
    req->cb(req, err);
}

static void disk_read(struct disk *disk, struct disk_read *req)
{
    struct uv_disk *uv_disk = container_of(disk, struct uv_disk, disk);
    struct uv_read *read = mem_alloc(sizeof(*read));
    read->disk = uv_disk;
    read->req = req;
    req->handle = read;
    int failed = uv_queue_work(&uv_disk->uv->loop, &read->request, read_run, read_done);
    assert(failed == 0);
}

/* ---- Life */

static const struct disk disk_functions = {
    .open = disk_open,
    .close = disk_close,
    .size = disk_size,
    .truncate = disk_truncate,
    .allocate = disk_allocate,
    .pwritev = disk_pwritev,
    .pread = disk_pread,
    .pread_nowait = disk_pread_nowait,
    .sync = disk_sync,
    .write_out = disk_write_out,
    .rename = disk_rename,
    .link = disk_link,
    .unlink = disk_unlink,
    .mkdir = disk_mkdir,
    .sync_dir = disk_sync_dir,
    .list = disk_list,
    .free_space = disk_free_space,
    .total_space = disk_total_space,
    .write = disk_write,
    .read = disk_read,
};

enum err uv_disk_init(struct uv_disk *disk, struct uv_env *uv, struct errmsg *msg)
{
    struct uv_writer *writer = &disk->writer;
    disk->disk = disk_functions;
    disk->uv = uv;
    list_init(&writer->queued);
    list_init(&writer->completed);
    pthread_mutex_init(&writer->mutex, NULL);
    pthread_cond_init(&writer->is_wanted, NULL);
    int status = uv_async_init(&uv->loop, &writer->async, writer_on_completed);
    assert(status == 0); /* the loop's eventfd is there already */
    uv_unref((uv_handle_t *)&writer->async);

    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the loops */
    status = pthread_create(&writer->thread, NULL, writer_main, writer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status != 0) {
        uv_close((uv_handle_t *)&writer->async, NULL);
        return fail(msg, err_from_errno(status), "start the disk writer thread: %s", strerror(status));
    }
    char name[16];
    snprintf(name, sizeof(name), "disk-%u", uv->env.shard);
    pthread_setname_np(writer->thread, name);
    return OK;
}

void uv_disk_deinit(struct uv_disk *disk)
{
    struct uv_writer *writer = &disk->writer;
    assert(writer->in_flight == 0);
    pthread_mutex_lock(&writer->mutex);
    writer->is_stopping = true;
    pthread_mutex_unlock(&writer->mutex);
    pthread_cond_signal(&writer->is_wanted);
    pthread_join(writer->thread, NULL);
    pthread_cond_destroy(&writer->is_wanted);
    pthread_mutex_destroy(&writer->mutex);
    uv_close((uv_handle_t *)&writer->async, NULL);
}
