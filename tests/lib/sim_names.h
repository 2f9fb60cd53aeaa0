/* The names of a simulated disk: directories, and the changes in them that are not durable yet. */
#pragma once

#include "tests/lib/sim_file.h"

/* What a file may carry instead of bytes: a store of base/kv.h. */
struct sim_attachment {
    void (*power_loss)(struct sim_attachment *attachment, struct sim_random *random);
    void (*close)(struct sim_attachment *attachment);
};

struct sim_node { /* A file or a directory; counted: names, open files and changes that are not durable hold it. */
    uint32_t references;
    bool is_directory;
    struct sim_file file;
    struct sim_attachment *attachment;
    struct sim_name *names; /* of a directory, sorted */
    size_t name_count;
    size_t name_capacity;
    bool is_marked; /* scratch of sync and loss */
    struct list link; /* of all nodes with an attachment */
};

struct sim_name {
    char *text;
    struct sim_node *node;
};

struct sim_names {
    struct sim_node *root;
    struct list changes;     /* struct sim_change, oldest first */
    struct list dirty_files; /* struct sim_file */
    struct list attached;    /* struct sim_node */
    uint64_t used;           /* bytes of all pages allocated */
};

void sim_names_init(struct sim_names *names);
void sim_names_deinit(struct sim_names *names);
void sim_node_release(struct sim_node *node);
struct sim_node *sim_node_acquire(struct sim_node *node);

/* Paths are relative to the root; empty components are skipped. NULL: not there. */
struct sim_node *sim_names_find(struct sim_names *names, const char *path);
/* The directory that `path` is or would be in, and the last component. ERR_NOT_FOUND; ERR_IO: not a directory. */
enum err sim_names_parent(struct sim_names *names, const char *path, struct sim_node **directory, const char **name);
struct sim_node *sim_node_find(const struct sim_node *directory, const char *name);

/* Each is one change of its directory (or two). The caller has checked that it is possible. */
struct sim_node *sim_names_create(struct sim_names *names, struct sim_node *directory, const char *name,
                                  bool is_directory);
void sim_names_link(struct sim_names *names, struct sim_node *node, struct sim_node *directory, const char *name);
void sim_names_unlink(struct sim_names *names, struct sim_node *directory, const char *name);
void sim_names_rename(struct sim_names *names, struct sim_node *source, const char *source_name,
                      struct sim_node *target, const char *target_name);

void sim_names_sync(struct sim_names *names, struct sim_node *directory);
void sim_names_power_loss(struct sim_names *names, struct sim_random *random); /* names and contents */
