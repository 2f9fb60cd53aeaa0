/* A directory is a sorted array of names. Every change is applied at once and put on a list with what undoes it; a sync
 * takes the changes of its directory off the list, a power loss chooses which of the others are lost and undoes those,
 * youngest first.
 *
 * Lost changes of one directory are a suffix of its changes, so undoing them in reverse order always fits. A rename
 * between two directories ties their orders together: it is kept only if all before it in both are. */
#include "tests/lib/sim_names.h"

#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

struct sim_change {
    struct sim_node *directory; /* where `name` was added (node) or removed (before) */
    char *name;
    struct sim_node *node;   /* there after the change; NULL: removed */
    struct sim_node *before; /* there before the change; NULL: nothing */
    struct sim_node *source; /* rename only: the directory that `source_name` was removed from */
    char *source_name;
    bool is_marked;
    struct list link;
};

/* ---- Nodes */

static struct sim_node *node_new(struct sim_names *names, bool is_directory)
{
    struct sim_node *node = sim_alloc(sizeof(*node));
    node->references = 1;
    node->is_directory = is_directory;
    list_init(&node->link);
    sim_file_init(&node->file, &names->used, &names->dirty_files);
    return node;
}

struct sim_node *sim_node_acquire(struct sim_node *node)
{
    node->references++;
    return node;
}

void sim_node_release(struct sim_node *node)
{
    if (node == NULL) {
        return;
    }
    assert(node->references > 0);
    node->references--;
    if (node->references > 0) {
        return;
    }
    for (size_t i = 0; i < node->name_count; i++) {
        sim_free(node->names[i].text);
        sim_node_release(node->names[i].node);
    }
    sim_free(node->names);
    if (node->attachment != NULL) {
        node->attachment->close(node->attachment);
    }
    list_remove(&node->link);
    sim_file_deinit(&node->file);
    sim_free(node);
}

/* Slot of the first name >= `name`. */
static size_t name_slot(const struct sim_node *directory, const char *name, bool *is_there)
{
    size_t low = 0;
    size_t high = directory->name_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(directory->names[middle].text, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *is_there = low < directory->name_count && strcmp(directory->names[low].text, name) == 0;
    return low;
}

struct sim_node *sim_node_find(const struct sim_node *directory, const char *name)
{
    bool is_there;
    size_t slot = name_slot(directory, name, &is_there);
    return is_there ? directory->names[slot].node : NULL;
}

/* Puts `node` (NULL: nothing) under the name, whatever is there; takes a reference, gives back the other one. */
static void name_set(struct sim_node *directory, const char *name, struct sim_node *node)
{
    bool is_there;
    size_t slot = name_slot(directory, name, &is_there);
    struct sim_node *before = NULL;
    if (is_there) {
        before = directory->names[slot].node;
        if (node == NULL) {
            sim_free(directory->names[slot].text);
            directory->name_count--;
            memmove(&directory->names[slot], &directory->names[slot + 1],
                    (directory->name_count - slot) * sizeof(struct sim_name));
        }
    } else if (node != NULL) {
        if (directory->name_count == directory->name_capacity) {
            directory->name_capacity = directory->name_capacity == 0 ? 8 : 2 * directory->name_capacity;
            directory->names = sim_resize(directory->names, directory->name_capacity * sizeof(struct sim_name));
        }
        memmove(&directory->names[slot + 1], &directory->names[slot],
                (directory->name_count - slot) * sizeof(struct sim_name));
        directory->names[slot].text = sim_strdup(name);
        directory->name_count++;
    }
    if (node != NULL) {
        directory->names[slot].node = sim_node_acquire(node);
    }
    sim_node_release(before);
}

/* ---- Paths */

/* The next component into `name`; NULL at the end. */
static const char *path_step(const char *path, char *name, size_t size)
{
    while (*path == '/') {
        path++;
    }
    if (*path == '\0') {
        return NULL;
    }
    size_t length = strcspn(path, "/");
    assert(length < size);
    memcpy(name, path, length);
    name[length] = '\0';
    assert(strcmp(name, ".") != 0 && strcmp(name, "..") != 0); /* paths are made by code, not by users */
    return path + length;
}

struct sim_node *sim_names_find(struct sim_names *names, const char *path)
{
    struct sim_node *node = names->root;
    char name[256];
    while (node != NULL && (path = path_step(path, name, sizeof(name))) != NULL) {
        node = node->is_directory ? sim_node_find(node, name) : NULL;
    }
    return node;
}

enum err sim_names_parent(struct sim_names *names, const char *path, struct sim_node **directory, const char **name)
{
    static char last[256];
    char next[256];
    struct sim_node *node = names->root;
    path = path_step(path, last, sizeof(last));
    assert(path != NULL);
    for (; (path = path_step(path, next, sizeof(next))) != NULL; memcpy(last, next, sizeof(last))) {
        node = sim_node_find(node, last);
        if (node == NULL) {
            return ERR_NOT_FOUND;
        }
        if (!node->is_directory) {
            return ERR_IO;
        }
    }
    *directory = node;
    *name = last;
    return OK;
}

/* ---- Changes */

static struct sim_change *change_new(struct sim_names *names, struct sim_node *directory, const char *name,
                                     struct sim_node *node)
{
    struct sim_change *change = sim_alloc(sizeof(*change));
    struct sim_node *before = sim_node_find(directory, name);
    change->directory = sim_node_acquire(directory);
    change->name = sim_strdup(name);
    change->node = node == NULL ? NULL : sim_node_acquire(node);
    change->before = before == NULL ? NULL : sim_node_acquire(before);
    list_push(&names->changes, &change->link);
    return change;
}

static void change_free(struct sim_change *change)
{
    list_remove(&change->link);
    sim_node_release(change->directory);
    sim_node_release(change->node);
    sim_node_release(change->before);
    sim_node_release(change->source);
    sim_free(change->name);
    sim_free(change->source_name);
    sim_free(change);
}

struct sim_node *sim_names_create(struct sim_names *names, struct sim_node *directory, const char *name,
                                  bool is_directory)
{
    struct sim_node *node = node_new(names, is_directory);
    (void)change_new(names, directory, name, node);
    name_set(directory, name, node);
    sim_node_release(node);
    return node;
}

void sim_names_link(struct sim_names *names, struct sim_node *node, struct sim_node *directory, const char *name)
{
    (void)change_new(names, directory, name, node);
    name_set(directory, name, node);
}

void sim_names_unlink(struct sim_names *names, struct sim_node *directory, const char *name)
{
    (void)change_new(names, directory, name, NULL);
    name_set(directory, name, NULL);
}

void sim_names_rename(struct sim_names *names, struct sim_node *source, const char *source_name,
                      struct sim_node *target, const char *target_name)
{
    struct sim_node *node = sim_node_acquire(sim_node_find(source, source_name));
    struct sim_change *change = change_new(names, target, target_name, node);
    change->source = sim_node_acquire(source);
    change->source_name = sim_strdup(source_name);
    name_set(source, source_name, NULL);
    name_set(target, target_name, node);
    sim_node_release(node);
}

static void change_undo(struct sim_change *change)
{
    name_set(change->directory, change->name, change->before);
    if (change->source != NULL) {
        name_set(change->source, change->source_name, change->node);
    }
}

static void marks_clear(struct sim_names *names)
{
    for (struct list *link = names->changes.next; link != &names->changes; link = link->next) {
        struct sim_change *change = container_of(link, struct sim_change, link);
        change->is_marked = false;
        change->directory->is_marked = false;
        if (change->source != NULL) {
            change->source->is_marked = false;
        }
    }
}

/* Backwards: a rename into or out of a directory that is synced takes with it all earlier ones of its other end. */
void sim_names_sync(struct sim_names *names, struct sim_node *directory)
{
    marks_clear(names);
    directory->is_marked = true;
    struct list *prev;
    for (struct list *link = names->changes.prev; link != &names->changes; link = prev) {
        struct sim_change *change = container_of(link, struct sim_change, link);
        prev = link->prev;
        if (change->directory->is_marked || (change->source != NULL && change->source->is_marked)) {
            change->directory->is_marked = true;
            if (change->source != NULL) {
                change->source->is_marked = true;
            }
            change->is_marked = true;
        }
    }
    struct list *next;
    for (struct list *link = names->changes.next; link != &names->changes; link = next) {
        struct sim_change *change = container_of(link, struct sim_change, link);
        next = link->next;
        if (change->is_marked) {
            change->directory->is_marked = false;
            if (change->source != NULL) {
                change->source->is_marked = false;
            }
            change_free(change);
        }
    }
    directory->is_marked = false;
}

/* A directory that is marked has lost a change, so it loses all later ones. */
static void names_lose(struct sim_names *names, struct sim_random *random)
{
    static const uint32_t chances[] = {0, 1000000, 500000, 125000};
    uint32_t per_million = chances[sim_random_below(random, 4)];
    marks_clear(names);
    for (struct list *link = names->changes.next; link != &names->changes; link = link->next) {
        struct sim_change *change = container_of(link, struct sim_change, link);
        bool is_lost = change->directory->is_marked || (change->source != NULL && change->source->is_marked) ||
                       sim_random_is(random, per_million);
        if (is_lost) {
            change->is_marked = true;
            change->directory->is_marked = true;
            if (change->source != NULL) {
                change->source->is_marked = true;
            }
        }
    }
    struct list *prev;
    for (struct list *link = names->changes.prev; link != &names->changes; link = prev) {
        struct sim_change *change = container_of(link, struct sim_change, link);
        prev = link->prev;
        if (change->is_marked) {
            change_undo(change);
        }
    }
    marks_clear(names);
    while (!list_is_empty(&names->changes)) {
        change_free(container_of(names->changes.next, struct sim_change, link));
    }
}

void sim_names_power_loss(struct sim_names *names, struct sim_random *random)
{
    struct list *next;
    for (struct list *link = names->dirty_files.next; link != &names->dirty_files; link = next) {
        next = link->next;
        sim_file_power_loss(container_of(link, struct sim_file, link), random);
    }
    for (struct list *link = names->attached.next; link != &names->attached; link = link->next) {
        struct sim_node *node = container_of(link, struct sim_node, link);
        node->attachment->power_loss(node->attachment, random);
    }
    names_lose(names, random);
}

void sim_names_init(struct sim_names *names)
{
    *names = (struct sim_names){0};
    list_init(&names->changes);
    list_init(&names->dirty_files);
    list_init(&names->attached);
    names->root = node_new(names, true);
}

void sim_names_deinit(struct sim_names *names)
{
    while (!list_is_empty(&names->changes)) {
        change_free(container_of(names->changes.next, struct sim_change, link));
    }
    sim_node_release(names->root);
    assert(names->used == 0);
    assert(list_is_empty(&names->dirty_files));
}
