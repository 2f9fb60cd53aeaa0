/* Happy path: list the directory; walk file after file, unit after unit, and replay; the walk ends at the first block
 *             that is no whole unit with the number that is due. Then nothing behind it may be one.
 * Failure:    a unit is missing or bad and a later one is there: ERR_DAMAGED. Every number read is checked before
 * use. */
#include "replication/wal_recover.h"

#include "base/assert.h"
#include "base/canary.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "replication/wal_format.h"

#include <inttypes.h>
#include <string.h>

/* Part of a file in memory. Grows to the largest unit found. */
struct window {
    struct disk *disk;
    const char *path;
    int fd;
    uint64_t file_size;
    uint64_t position; /* of data[0] in the file */
    size_t size;
    size_t capacity;
    uint8_t *data;
};

struct recovery {
    struct env *env;
    const char *dir;
    void *owner;
    wal_replay_cb replay;
    struct wal_recovered *out;
    struct errmsg *msg;
    struct window window;
    bool has_unit;          /* sequence and lsn of the next unit are known */
    uint64_t next_sequence; /* of the file that the last WAL_UNIT_NEXT names; 0: none */
    uint64_t next_generation;
};

/* ---- Directory -------------------------------------------------------------------------------------------------- */

static bool name_parse(const char *name, const char *suffix, uint64_t *sequence)
{
    if (strlen(name) != WAL_SEQUENCE_DIGITS + strlen(suffix) || strcmp(name + WAL_SEQUENCE_DIGITS, suffix) != 0) {
        return false;
    }
    uint64_t value = 0;
    for (int i = 0; i < WAL_SEQUENCE_DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9') {
            return false;
        }
        unsigned digit = (unsigned)(name[i] - '0');
        if (value > ((uint64_t)INT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *sequence = value;
    return value > 0;
}

static void file_insert(struct list *files, struct wal_file *file)
{
    struct list *at = files;
    while (at->prev != files && container_of(at->prev, struct wal_file, link)->sequence > file->sequence) {
        at = at->prev;
    }
    list_insert_before(at, &file->link);
}

static void on_name(const char *name, uint64_t size, bool is_directory, void *context)
{
    struct wal_recovered *out = context;
    uint64_t sequence;
    if (!is_directory && name_parse(name, WAL_SUFFIX, &sequence)) {
        file_insert(&out->files, wal_file_new(sequence, 0, size));
    } else if (!is_directory && name_parse(name, WAL_SUFFIX_NEW, &sequence)) {
        file_insert(&out->leftovers, wal_file_new(sequence, 0, size));
    }
}

static struct wal_file *file_first(struct list *files)
{
    return list_is_empty(files) ? NULL : container_of(files->next, struct wal_file, link);
}

static struct wal_file *file_after(struct list *files, struct wal_file *file)
{
    return file->link.next == files ? NULL : container_of(file->link.next, struct wal_file, link);
}

static enum err damaged_missing(struct recovery *r, uint64_t sequence)
{
    char *path = wal_file_path(r->dir, sequence, WAL_SUFFIX);
    enum err err = fail(r->msg, ERR_DAMAGED, "%s: position 0: the file is missing", path);
    mem_free(path);
    return err;
}

static enum err directory_read(struct recovery *r)
{
    struct disk *disk = r->env->disk;
    enum err err = disk->list(disk, r->dir, on_name, r->out);
    if (err != OK) {
        return fail(r->msg, err, "%s: %s", r->dir, err_text(err));
    }
    struct wal_file *file = file_first(&r->out->files);
    if (file == NULL) {
        /* The first file of all is made under number 1, so any other number tells of files that were there. */
        struct wal_file *leftover = file_first(&r->out->leftovers);
        return leftover == NULL || leftover->sequence == 1 ? OK : damaged_missing(r, leftover->sequence - 1);
    }
    for (struct wal_file *next; (next = file_after(&r->out->files, file)) != NULL; file = next) {
        if (next->sequence != file->sequence + 1) {
            return damaged_missing(r, file->sequence + 1);
        }
    }
    return OK;
}

/* ---- Reading ---------------------------------------------------------------------------------------------------- */

static enum err window_open(struct window *window, const struct wal_file *file, const char *path, struct errmsg *msg)
{
    window->path = path;
    window->position = 0;
    window->size = 0;
    window->file_size = file->size;
    return window->disk->open(window->disk, path, DISK_READ_ONLY, &window->fd, msg);
}

static void window_close(struct window *window)
{
    window->disk->close(window->disk, window->fd);
    window->fd = -1;
}

/* Makes [position, position + size) readable at *data; the range is within the file. */
static enum err window_get(struct window *window, uint64_t position, size_t size, const uint8_t **data,
                           struct errmsg *msg)
{
    assert(position <= window->file_size && size <= window->file_size - position);
    uint64_t skipped = position - window->position;
    if (position < window->position || skipped > window->size) {
        window->position = position;
        window->size = 0;
        skipped = 0;
    }
    if (size > window->size - skipped) {
        if (size > window->capacity) {
            size_t wish = window->file_size < WAL_READ_SIZE ? (size_t)window->file_size : WAL_READ_SIZE;
            window->capacity = size > wish ? size : wish;
            window->data = mem_resize(window->data, window->capacity);
        }
        window->size -= (size_t)skipped;
        memmove(window->data, window->data + skipped, window->size);
        window->position = position;
        skipped = 0;
        uint64_t at = position + window->size;
        uint64_t left = window->file_size - at;
        size_t room = window->capacity - window->size;
        size_t want = left < room ? (size_t)left : room;
        size_t got = 0;
        enum err err = window->disk->pread(window->disk, window->fd, at, window->data + window->size, want, &got);
        if (err != OK) {
            return fail(msg, err, "%s: position %" PRIu64 ": %s", window->path, at, err_text(err));
        }
        window->size += got;
        if (size > window->size) {
            return fail(msg, ERR_DAMAGED, "%s: position %" PRIu64 ": the file ends early", window->path, at + got);
        }
    }
    *data = window->data + skipped;
    return OK;
}

static enum err file_header_read(struct recovery *r, struct wal_file *file)
{
    const char *path = r->window.path;
    const uint8_t *block;
    size_t size = file->size < WAL_BLOCK_SIZE ? (size_t)file->size : WAL_BLOCK_SIZE;
    enum err err = window_get(&r->window, 0, size, &block, r->msg);
    if (err != OK) {
        return err;
    }
    struct wal_file_header header;
    err = wal_file_header_decode((struct bytes){block, size}, &header, r->msg);
    if (err != OK) {
        return fail_wrap(r->msg, err == ERR_CORRUPT ? ERR_DAMAGED : err, "%s: position 0", path);
    }
    if (header.sequence != file->sequence) {
        return fail(r->msg, ERR_DAMAGED, "%s: position 0: the header is that of file %" PRIu64, path, header.sequence);
    }
    if (header.size % WAL_BLOCK_SIZE != 0) {
        return fail(r->msg, ERR_DAMAGED, "%s: position 0: a size of %" PRIu64, path, header.size);
    }
    if (header.size != file->size) {
        return fail(r->msg, ERR_DAMAGED, "%s: position %" PRIu64 ": the file ends, it should have %" PRIu64 " bytes",
                    path, file->size, header.size);
    }
    if (r->next_sequence == file->sequence && r->next_generation != header.generation) {
        return fail(r->msg, ERR_DAMAGED, "%s: position 0: not the file that was written to", path);
    }
    file->generation = header.generation;
    return OK;
}

/* A unit at a position of the file in the window: its header, and its payload if that is whole. */
struct unit {
    enum wal_unit_look look;
    bool is_whole;
    struct wal_unit_header header;
    struct bytes payload; /* in the window */
};

static enum err unit_read(struct recovery *r, const struct wal_file *file, uint64_t position, struct unit *unit)
{
    *unit = (struct unit){.look = WAL_UNIT_FOREIGN};
    uint64_t left = file->size - position;
    if (left < WAL_BLOCK_SIZE) {
        return OK;
    }
    const uint8_t *data;
    enum err err = window_get(&r->window, position, WAL_BLOCK_SIZE, &data, r->msg);
    if (err != OK) {
        return err;
    }
    unit->look = wal_unit_header_decode(data, file->generation, &unit->header);
    if (unit->look != WAL_UNIT_GOOD) {
        return OK;
    }
    if (wal_unit_size(unit->header.payload_size) > left) {
        unit->look = WAL_UNIT_BROKEN;
        return OK;
    }
    err = window_get(&r->window, position, WAL_UNIT_HEADER_SIZE + unit->header.payload_size, &data, r->msg);
    if (err != OK) {
        return err;
    }
    unit->payload = (struct bytes){data + WAL_UNIT_HEADER_SIZE, unit->header.payload_size};
    unit->is_whole = crc32c(0, unit->payload) == unit->header.payload_crc || canary_is(CANARY_TORN_UNIT_BELIEVED);
    return OK;
}

/* ---- Replay ----------------------------------------------------------------------------------------------------- */

static enum err unit_replay(struct recovery *r, const struct unit *unit, uint64_t position)
{
    struct reader reader;
    reader_init(&reader, unit->payload);
    struct wal_record record = {.lsn = unit->header.lsn};
    for (uint32_t i = 0; i < unit->header.frame_count; i++) {
        wal_frame_decode(&reader, &record);
        if (reader.err != OK) {
            break;
        }
        r->out->is_stopped = record.kind == WAL_STOP;
        r->replay(r->owner, &record);
    }
    if (reader.err != OK || reader.left > 0) {
        return fail(r->msg, ERR_DAMAGED, "%s: position %" PRIu64 ": frames of a unit do not add up", r->window.path,
                    position);
    }
    return OK;
}

static bool unit_is_due(const struct recovery *r, const struct wal_file *file, const struct wal_unit_header *header)
{
    if (!r->has_unit && file->sequence != 1) {
        return header->sequence > 0 && header->lsn >= WAL_LSN_FIRST; /* those before were released with their files */
    }
    return header->sequence == r->out->sequence && header->lsn == r->out->lsn;
}

/* Walks the whole units of a file. Stops in front of the first one that is not, or behind a WAL_UNIT_NEXT. */
static enum err file_walk(struct recovery *r, struct wal_file *file, struct unit *unit)
{
    struct wal_recovered *out = r->out;
    out->active = file;
    out->position = WAL_BLOCK_SIZE;
    r->next_sequence = 0;
    for (;;) {
        enum err err = unit_read(r, file, out->position, unit);
        if (err != OK || !unit->is_whole) {
            return err;
        }
        const struct wal_unit_header *header = &unit->header;
        if (!unit_is_due(r, file, header)) {
            return fail(r->msg, ERR_DAMAGED,
                        "%s: position %" PRIu64 ": unit %" PRIu64 " (LSN %" PRIu64 ") where unit %" PRIu64
                        " (LSN %" PRIu64 ") is due",
                        r->window.path, out->position, header->sequence, header->lsn, out->sequence, out->lsn);
        }
        size_t size = wal_unit_size(header->payload_size);
        if (header->kind == WAL_UNIT_FRAMES) {
            err = unit_replay(r, unit, out->position);
            if (err != OK) {
                return err;
            }
        }
        if (file->first_lsn == 0) {
            file->first_lsn = header->lsn;
        }
        r->has_unit = true;
        out->position += size;
        out->sequence = header->sequence + 1;
        out->lsn = header->lsn + (header->kind == WAL_UNIT_FRAMES ? size : 0);
        out->kept_lsn = header->kept_lsn;
        if (header->kind == WAL_UNIT_NEXT) {
            file->end_lsn = out->lsn;
            wal_next_decode(unit->payload, &r->next_sequence, &r->next_generation);
            return r->next_sequence == file->sequence + 1
                       ? OK
                       : fail(r->msg, ERR_DAMAGED, "%s: position %" PRIu64 ": the next file cannot be %" PRIu64,
                              r->window.path, out->position - size, r->next_sequence);
        }
    }
}

/* The log ends at out->position of this file: no unit of the file's present life may lie behind. */
static enum err end_check(struct recovery *r, const struct wal_file *file)
{
    for (uint64_t at = r->out->position + WAL_BLOCK_SIZE; at < file->size; at += WAL_BLOCK_SIZE) {
        struct unit unit;
        enum err err = unit_read(r, file, at, &unit);
        if (err != OK) {
            return err;
        }
        if (unit.is_whole) {
            return fail(r->msg, ERR_DAMAGED,
                        "%s: position %" PRIu64 ": a unit is damaged; a later one lies at position %" PRIu64,
                        r->window.path, r->out->position, at);
        }
    }
    return OK;
}

/* Units are written to a file only after the one before has durably named it: if that name was not found, a unit in a
 * later file, or what is left of it, tells that it was there. (That block never held a client's bytes.) */
static enum err spare_check(struct recovery *r, const struct wal_file *spare)
{
    struct unit unit;
    enum err err = unit_read(r, spare, WAL_BLOCK_SIZE, &unit);
    if (err != OK || unit.look == WAL_UNIT_FOREIGN) {
        return err;
    }
    char *path = wal_file_path(r->dir, r->out->active->sequence, WAL_SUFFIX);
    err = fail(r->msg, ERR_DAMAGED, "%s: position %" PRIu64 ": a unit is damaged; a later one lies in file %" PRIu64,
               path, r->out->position, spare->sequence);
    mem_free(path);
    return err;
}

static enum err file_recover(struct recovery *r, struct wal_file *file, bool *is_at_end)
{
    enum err err = file_header_read(r, file);
    if (err != OK) {
        return err;
    }
    if (*is_at_end) {
        return spare_check(r, file);
    }
    struct unit unit;
    err = file_walk(r, file, &unit);
    if (err != OK || r->next_sequence != 0) {
        return err;
    }
    *is_at_end = true;
    r->out->is_torn = unit.look != WAL_UNIT_FOREIGN;
    if (!r->has_unit && file->sequence != 1) {
        return fail(r->msg, ERR_DAMAGED,
                    "%s: position %" PRIu64 ": the first unit is damaged or files before are missing", r->window.path,
                    r->out->position);
    }
    if (file->size - r->out->position < WAL_BLOCK_SIZE) {
        return fail(r->msg, ERR_DAMAGED, "%s: position %" PRIu64 ": full, but no next file is named", r->window.path,
                    r->out->position);
    }
    return end_check(r, file);
}

static enum err files_recover(struct recovery *r)
{
    struct list *files = &r->out->files;
    bool is_at_end = false;
    for (struct wal_file *file = file_first(files); file != NULL; file = file_after(files, file)) {
        char *path = wal_file_path(r->dir, file->sequence, WAL_SUFFIX);
        enum err err = window_open(&r->window, file, path, r->msg);
        if (err == OK) {
            err = file_recover(r, file, &is_at_end);
            window_close(&r->window);
        }
        mem_free(path);
        if (err != OK) {
            return err;
        }
    }
    if (!is_at_end && r->out->active != NULL) {
        return damaged_missing(r, r->next_sequence);
    }
    struct wal_file *first = file_first(files);
    if (first != NULL && first->first_lsn > r->out->kept_lsn) {
        return damaged_missing(r, first->sequence - 1);
    }
    return OK;
}

enum err wal_recover(struct env *env, const char *dir, void *owner, wal_replay_cb replay,
                     struct wal_recovered *recovered, struct errmsg *msg)
{
    *recovered = (struct wal_recovered){.sequence = 1, .lsn = WAL_LSN_FIRST, .kept_lsn = WAL_LSN_FIRST};
    list_init(&recovered->files);
    list_init(&recovered->leftovers);
    struct recovery r = {
        .env = env,
        .dir = dir,
        .owner = owner,
        .replay = replay,
        .out = recovered,
        .msg = msg,
        .window = {.disk = env->disk, .fd = -1},
    };
    enum err err = directory_read(&r);
    if (err == OK) {
        err = files_recover(&r);
    }
    mem_free(r.window.data);
    if (err != OK) {
        wal_files_free(&recovered->files);
        wal_files_free(&recovered->leftovers);
        recovered->active = NULL;
    }
    return err;
}
