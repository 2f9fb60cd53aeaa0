/* See the header for the rules. In this file a page is *dirty* when it has an undo image. */
#include "tests/lib/sim_file.h"

#include <string.h>

#include "base/assert.h"

enum {
    WRITE_BACK_PER_MILLION = 100000,
    TORN_PER_MILLION = 125000
};

static const uint8_t zeros[SIM_PAGE_SIZE];

void sim_file_init(struct sim_file *file, uint64_t *used, struct list *dirty_files)
{
    *file = (struct sim_file){.used = used, .dirty_files = dirty_files};
    list_init(&file->link);
}

static void page_free(struct sim_file *file, struct sim_page *page)
{
    sim_free(page->data);
    sim_free(page->undo);
    if (page->is_allocated) {
        *file->used -= SIM_PAGE_SIZE;
    }
}

void sim_file_deinit(struct sim_file *file)
{
    for (size_t i = 0; i < file->page_count; i++) {
        page_free(file, &file->pages[i]);
    }
    sim_free(file->pages);
    sim_free(file->dirty);
    list_remove(&file->link);
}

static const uint8_t *page_bytes(const struct sim_page *page)
{
    return page->data == NULL ? zeros : page->data;
}

static const uint8_t *page_undo_bytes(const struct sim_page *page)
{
    return page->undo == NULL ? zeros : page->undo;
}

size_t sim_file_read(const struct sim_file *file, uint64_t position, void *data, size_t size)
{
    size_t got = 0;
    if (position >= file->size) {
        return 0;
    }
    if (size > file->size - position) {
        size = (size_t)(file->size - position);
    }
    while (got < size) {
        size_t number = (size_t)((position + got) / SIM_PAGE_SIZE);
        size_t offset = (size_t)((position + got) % SIM_PAGE_SIZE);
        size_t step = SIM_PAGE_SIZE - offset < size - got ? SIM_PAGE_SIZE - offset : size - got;
        const uint8_t *bytes = number < file->page_count ? page_bytes(&file->pages[number]) : zeros;
        memcpy((uint8_t *)data + got, bytes + offset, step);
        got += step;
    }
    return got;
}

/* ---- Changing pages */

static void mark_dirty_file(struct sim_file *file)
{
    if (list_is_empty(&file->link)) {
        list_push(file->dirty_files, &file->link);
    }
}

static struct sim_page *page_at(struct sim_file *file, size_t number)
{
    if (number >= file->page_count) {
        size_t count = number + 1 > 2 * file->page_count ? number + 1 : 2 * file->page_count;
        file->pages = sim_resize(file->pages, count * sizeof(file->pages[0]));
        memset(file->pages + file->page_count, 0, (count - file->page_count) * sizeof(file->pages[0]));
        file->page_count = count;
    }
    return &file->pages[number];
}

static void page_list(struct sim_file *file, size_t number)
{
    struct sim_page *page = &file->pages[number];
    if (page->is_listed) {
        return;
    }
    if (file->dirty_count == file->dirty_capacity) {
        file->dirty_capacity = file->dirty_capacity == 0 ? 16 : 2 * file->dirty_capacity;
        file->dirty = sim_resize(file->dirty, file->dirty_capacity * sizeof(file->dirty[0]));
    }
    page->is_listed = true;
    file->dirty[file->dirty_count++] = (uint32_t)number;
    mark_dirty_file(file);
}

/* Before sectors [first, end) of a page change in the cache: their durable image is put aside. */
static void page_save(struct sim_file *file, size_t number, size_t first, size_t end, struct sim_random *random)
{
    struct sim_page *page = &file->pages[number];
    page_list(file, number);
    for (size_t sector = first; sector < end; sector++) {
        uint8_t bit = (uint8_t)(1U << sector);
        size_t at = sector * SIM_SECTOR_SIZE;
        bool is_written_back =
            (page->dirty & bit) != 0 && !file->is_cut_lost && sim_random_is(random, WRITE_BACK_PER_MILLION);
        page->forgotten &= (uint8_t)~bit;
        if ((page->dirty & bit) != 0 && !is_written_back) {
            continue;
        }
        page->dirty |= bit;
        const uint8_t *bytes = page_bytes(page) + at;
        if (page->undo == NULL) {
            if (memcmp(bytes, zeros, SIM_SECTOR_SIZE) == 0) {
                continue;
            }
            page->undo = sim_alloc(SIM_PAGE_SIZE);
        }
        memcpy(page->undo + at, bytes, SIM_SECTOR_SIZE);
    }
}

static void page_put(struct sim_page *page, size_t offset, const uint8_t *data, size_t size)
{
    if (page->data == NULL) {
        if (memcmp(data, zeros, size) == 0) {
            return;
        }
        page->data = size == SIM_PAGE_SIZE ? sim_resize(NULL, size) : sim_alloc(SIM_PAGE_SIZE);
    }
    memcpy(page->data + offset, data, size);
}

/* What is durable of sectors [first, end) becomes what is in the cache. */
static void page_settle(struct sim_page *page, size_t first, size_t end)
{
    for (size_t sector = first; sector < end; sector++) {
        uint8_t bit = (uint8_t)(1U << sector);
        size_t at = sector * SIM_SECTOR_SIZE;
        page->dirty &= (uint8_t)~bit;
        page->forgotten &= (uint8_t)~bit;
        if (page->undo != NULL) {
            memcpy(page->undo + at, page_bytes(page) + at, SIM_SECTOR_SIZE);
        }
    }
}

/* Zeros written over zeros change nothing that a power loss could take back, and preallocation does much of it. */
static bool is_nothing_new(const struct sim_page *page, const uint8_t *data, size_t size)
{
    return page->data == NULL && page->dirty == 0 && memcmp(data, zeros, size) == 0;
}

static size_t write_pages(struct sim_file *file, uint64_t position, const uint8_t *data, size_t size, uint64_t capacity,
                          bool is_durable, struct sim_random *random)
{
    size_t done = 0;
    while (done < size) {
        size_t number = (size_t)((position + done) / SIM_PAGE_SIZE);
        size_t offset = (size_t)((position + done) % SIM_PAGE_SIZE);
        size_t step = SIM_PAGE_SIZE - offset < size - done ? SIM_PAGE_SIZE - offset : size - done;
        struct sim_page *page = page_at(file, number);
        if (!page->is_allocated) {
            if (*file->used + SIM_PAGE_SIZE > capacity) {
                break;
            }
            page->is_allocated = true;
            *file->used += SIM_PAGE_SIZE;
        }
        size_t first = offset / SIM_SECTOR_SIZE;
        size_t end = (offset + step + SIM_SECTOR_SIZE - 1) / SIM_SECTOR_SIZE;
        if (!is_nothing_new(page, data + done, step)) {
            if (!is_durable) {
                page_save(file, number, first, end, random);
            }
            page_put(page, offset, data + done, step);
            if (is_durable) {
                page_settle(page, first, end);
            }
        }
        done += step;
    }
    if (done > 0 && position + done > file->size) {
        file->size = position + done;
        mark_dirty_file(file);
    }
    return done;
}

size_t sim_file_write(struct sim_file *file, uint64_t position, const uint8_t *data, size_t size, uint64_t capacity,
                      struct sim_random *random)
{
    return write_pages(file, position, data, size, capacity, false, random);
}

/* Drops the undo images; keeps those of sectors that were forgotten. */
static void settle(struct sim_file *file)
{
    size_t kept = 0;
    for (size_t i = 0; i < file->dirty_count; i++) {
        struct sim_page *page = &file->pages[file->dirty[i]];
        page->dirty &= page->forgotten;
        if (page->dirty != 0) {
            file->dirty[kept++] = file->dirty[i];
            continue;
        }
        sim_free(page->undo);
        page->undo = NULL;
        page->is_listed = false;
    }
    file->dirty_count = kept;
    file->is_cut_lost = false;
    file->size_durable = file->size;
    if (kept == 0) {
        list_remove(&file->link);
    }
}

size_t sim_file_write_durable(struct sim_file *file, uint64_t position, const uint8_t *data, size_t size,
                              uint64_t capacity)
{
    if (file->is_cut_lost) {
        settle(file); /* O_DSYNC commits what is needed to find the data again: the cut among it */
    }
    size_t done = write_pages(file, position, data, size, capacity, true, NULL);
    if (done > 0 && position + done > file->size_durable) {
        file->size_durable = position + done;
    }
    return done;
}

/* Which sectors of a write or of a loss are chosen. The extremes are as likely as the mixtures. */
struct choice {
    unsigned way;
    uint64_t limit; /* of a prefix */
    uint64_t seen;
};

static struct choice choice_make(uint64_t count, struct sim_random *random)
{
    return (struct choice){.way = (unsigned)sim_random_below(random, 5),
                           .limit = count == 0 ? 0 : sim_random_below(random, count + 1)};
}

static bool choice_next(struct choice *choice, struct sim_random *random)
{
    choice->seen++;
    switch (choice->way) {
    case 0:
        return false;
    case 1:
        return true;
    case 2:
        return choice->seen <= choice->limit;
    case 3:
        return sim_random_below(random, 2) == 0;
    default:
        return sim_random_below(random, 8) != 0;
    }
}

void sim_file_write_partly(struct sim_file *file, uint64_t position, const uint8_t *data, size_t size,
                           uint64_t capacity, struct sim_random *random)
{
    struct choice choice = choice_make(size / SIM_SECTOR_SIZE + 1, random);
    size_t done = 0;
    while (done < size) {
        size_t step = SIM_SECTOR_SIZE - (size_t)((position + done) % SIM_SECTOR_SIZE);
        step = step < size - done ? step : size - done;
        if (choice_next(&choice, random)) {
            (void)sim_file_write(file, position + done, data + done, step, capacity, random);
        }
        done += step;
    }
}

/* ---- Cutting, syncing */

/* Zeros from `size` on in the cache, the pages behind given back. The tail of the last page is zeros as well. */
static void cut_pages(struct sim_file *file, uint64_t size, struct sim_random *random)
{
    size_t number = (size_t)(size / SIM_PAGE_SIZE);
    size_t offset = (size_t)(size % SIM_PAGE_SIZE);
    for (; number < file->page_count; number++, offset = 0) {
        struct sim_page *page = &file->pages[number];
        if (page->data != NULL) {
            page_save(file, number, offset / SIM_SECTOR_SIZE, SIM_PAGE_SECTORS, random);
            if (offset == 0) {
                sim_free(page->data);
                page->data = NULL;
            } else {
                memset(page->data + offset, 0, SIM_PAGE_SIZE - offset);
            }
        }
        if (offset == 0 && page->is_allocated) {
            page->is_allocated = false;
            *file->used -= SIM_PAGE_SIZE;
        }
    }
}

/* The journal has the cut: what lies behind is gone for good. */
static void forget_behind(struct sim_file *file, uint64_t size)
{
    for (size_t i = 0; i < file->dirty_count; i++) {
        struct sim_page *page = &file->pages[file->dirty[i]];
        uint64_t start = (uint64_t)file->dirty[i] * SIM_PAGE_SIZE;
        if (start + SIM_PAGE_SIZE <= size) {
            continue;
        }
        size_t offset = start >= size ? 0 : (size_t)(size - start);
        if (page->undo != NULL) {
            memset(page->undo + offset, 0, SIM_PAGE_SIZE - offset);
        }
        page_settle(page, (offset + SIM_SECTOR_SIZE - 1) / SIM_SECTOR_SIZE, SIM_PAGE_SECTORS);
    }
}

void sim_file_truncate(struct sim_file *file, uint64_t size, struct sim_random *random)
{
    if (size < file->size) {
        bool is_lost = sim_random_below(random, 2) == 0;
        file->is_cut_lost = file->is_cut_lost || is_lost;
        cut_pages(file, size, random);
        if (!file->is_cut_lost) {
            forget_behind(file, size);
            file->size_durable = size < file->size_durable ? size : file->size_durable;
        }
    }
    file->size = size;
    mark_dirty_file(file);
}

bool sim_file_allocate(struct sim_file *file, uint64_t size, uint64_t capacity)
{
    size_t count = (size_t)((size + SIM_PAGE_SIZE - 1) / SIM_PAGE_SIZE);
    uint64_t needed = 0;
    for (size_t number = 0; number < count; number++) {
        needed += page_at(file, number)->is_allocated ? 0 : SIM_PAGE_SIZE;
    }
    if (*file->used + needed > capacity) {
        return false;
    }
    for (size_t number = 0; number < count; number++) {
        file->pages[number].is_allocated = true;
    }
    *file->used += needed;
    file->size = size > file->size ? size : file->size;
    mark_dirty_file(file);
    return true;
}

void sim_file_sync(struct sim_file *file)
{
    settle(file);
}

void sim_file_sync_fail(struct sim_file *file, struct sim_random *random)
{
    struct choice choice = choice_make(file->dirty_count * SIM_PAGE_SECTORS, random);
    for (size_t i = 0; i < file->dirty_count; i++) {
        struct sim_page *page = &file->pages[file->dirty[i]];
        for (unsigned sector = 0; sector < SIM_PAGE_SECTORS; sector++) {
            uint8_t bit = (uint8_t)(1U << sector);
            if ((page->dirty & bit) != 0 && choice_next(&choice, random)) {
                page->forgotten |= bit;
            }
        }
    }
}

/* ---- Power loss */

/* Part new, part old; rarely noise where new and old differ. What the write leaves as it was stays: "powersafe
 * overwrite" in SQLite's words. A disk either replaces a sector or keeps it, and the bytes in front of an append are
 * the same in both. Whoever appends in place relies on that, PostgreSQL's log and the journal of the file system among
 * them. */
static void tear_sector(uint8_t *bytes, const uint8_t *before, struct sim_random *random)
{
    size_t at = (size_t)sim_random_below(random, SIM_SECTOR_SIZE);
    switch (sim_random_below(random, 4)) {
    case 0:
        memcpy(bytes, before, at);
        break;
    case 1:
        for (size_t i = at; i < SIM_SECTOR_SIZE; i++) {
            uint8_t noise = (uint8_t)sim_random_next(random);
            if (bytes[i] != before[i]) {
                bytes[i] = noise;
            }
        }
        break;
    default:
        memcpy(bytes + at, before + at, SIM_SECTOR_SIZE - at);
        break;
    }
}

static void lose_sectors(struct sim_file *file, struct sim_random *random)
{
    struct choice choice = choice_make(file->dirty_count * SIM_PAGE_SECTORS, random);
    for (size_t i = 0; i < file->dirty_count; i++) {
        struct sim_page *page = &file->pages[file->dirty[i]];
        const uint8_t *undo = page_undo_bytes(page);
        for (unsigned sector = 0; sector < SIM_PAGE_SECTORS; sector++) {
            uint8_t bit = (uint8_t)(1U << sector);
            size_t at = (size_t)sector * SIM_SECTOR_SIZE;
            if ((page->dirty & bit) == 0 || memcmp(page_bytes(page) + at, undo + at, SIM_SECTOR_SIZE) == 0) {
                continue;
            }
            bool is_kept = (page->forgotten & bit) == 0 && !file->is_cut_lost && choice_next(&choice, random);
            bool is_torn = is_kept && choice.way >= 2 && sim_random_is(random, TORN_PER_MILLION);
            if (is_kept && !is_torn) {
                continue;
            }
            if (page->data == NULL) {
                page->data = sim_alloc(SIM_PAGE_SIZE);
            }
            if (is_torn) {
                tear_sector(page->data + at, undo + at, random);
            } else {
                memcpy(page->data + at, undo + at, SIM_SECTOR_SIZE);
            }
        }
        page->forgotten = 0;
    }
}

static void lose_size(struct sim_file *file, struct sim_random *random)
{
    uint64_t before = file->size_durable;
    if (file->is_cut_lost) {
        file->size = before;
    } else if (file->size > before) {
        uint64_t grown = file->size - before;
        uint64_t ways[] = {0, grown, sim_random_below(random, grown + 1),
                           sim_random_below(random, grown / SIM_PAGE_SIZE + 1) * SIM_PAGE_SIZE};
        file->size = before + ways[sim_random_below(random, 4)];
    }
}

/* Bytes behind the end are not there to be found by a later growth; pages that came back take space again. */
static void trim(struct sim_file *file, size_t first)
{
    for (size_t number = first; number < file->page_count; number++) {
        struct sim_page *page = &file->pages[number];
        uint64_t start = (uint64_t)number * SIM_PAGE_SIZE;
        bool is_behind = start >= file->size;
        if (is_behind) {
            sim_free(page->data);
            page->data = NULL;
        } else if (page->data != NULL && file->size - start < SIM_PAGE_SIZE) {
            memset(page->data + (file->size - start), 0, SIM_PAGE_SIZE - (size_t)(file->size - start));
        }
        bool is_allocated = !is_behind && (page->is_allocated || page->data != NULL);
        if (is_allocated != page->is_allocated) {
            *file->used = is_allocated ? *file->used + SIM_PAGE_SIZE : *file->used - SIM_PAGE_SIZE;
            page->is_allocated = is_allocated;
        }
    }
}

void sim_file_power_loss(struct sim_file *file, struct sim_random *random)
{
    bool is_cut_lost = file->is_cut_lost;
    lose_sectors(file, random);
    lose_size(file, random);
    settle(file);
    trim(file, is_cut_lost ? 0 : (size_t)(file->size / SIM_PAGE_SIZE));
}
