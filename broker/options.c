/* Happy path: options_init() knows only defaults; every source sets texts, each checked by its key's rule at once;
 * options_finish() looks at what keys say together and decodes. Messages name key, value and place. */

#include "base/limits.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/trace.h"
#include "broker/options_internal.h"
#include "broker/properties.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ENVIRONMENT_PREFIX "BALSA_"
#define OWN_PREFIX "balsa."
#define HEARTBEATS_MIN 5 /* missed before an election: fewer make elections out of hiccups */
#define WAL_FILE_COUNT_MIN 4

size_t options_index(const char *key)
{
    size_t count;
    const struct option_key *keys = options_keys(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(keys[i].name, key) == 0 || (keys[i].alias != NULL && strcmp(keys[i].alias, key) == 0)) {
            return i;
        }
    }
    return count;
}

void options_init(struct options *options)
{
    size_t count;
    (void)options_keys(&count);
    memset(options, 0, sizeof(*options));
    options->values = mem_alloc(count * sizeof(*options->values));
}

void options_deinit(struct options *options)
{
    size_t count;
    (void)options_keys(&count);
    for (size_t i = 0; i < count; i++) {
        mem_free(options->values[i].text);
        mem_free(options->values[i].where);
        mem_free(options->values[i].name);
    }
    mem_free(options->values);
    options->values = NULL;
}

const char *options_text(const struct options *options, const char *key, enum option_source *source)
{
    size_t count;
    const struct option_key *keys = options_keys(&count);
    size_t i = options_index(key);
    if (i == count) {
        return NULL;
    }
    const struct option_value *value = &options->values[i];
    if (source != NULL) {
        *source = value->text != NULL ? value->source : OPTION_DEFAULT;
    }
    return value->text != NULL ? value->text : keys[i].default_text;
}

const char *options_known_text(const struct options *options, const char *key)
{
    const char *text = options_text(options, key, NULL);
    assert(text != NULL);
    return text;
}

const char *options_where(const struct options *options, const char *key)
{
    size_t count;
    (void)options_keys(&count);
    size_t i = options_index(key);
    assert(i < count);
    return options->values[i].where != NULL ? options->values[i].where : "default";
}

/* ---- Setting one ---- */

static enum err fail_unknown(const char *key, const char *value, const char *where, struct errmsg *msg)
{
    struct config_shown shown_key = config_show(bytes_from_text(key));
    struct config_shown shown = config_show(bytes_from_text(value));
    const char *refusal = options_refusal(key);
    if (refusal != NULL) {
        return fail(msg, ERR_UNSUPPORTED, "%s=%s (%s): %s; remove the key", shown_key.text, shown.text, where, refusal);
    }
    return fail(msg, ERR_INVALID, "%s=%s (%s): unknown key", shown_key.text, shown.text, where);
}

static bool is_default(const struct option_key *key, struct bytes value)
{
    bool truth;
    if (key->type == CONFIG_BOOL && config_parse_bool(value, &truth)) {
        return strcmp(key->default_text, truth ? "true" : "false") == 0;
    }
    return bytes_equal_text(value, key->default_text);
}

static enum err check_value(const struct option_key *key, struct bytes value, const char *where, struct errmsg *msg)
{
    struct config_shown shown = config_show(value);
    char expected[160];
    if (!config_is_valid(key->type, &key->rule, value)) {
        config_expected(key->type, &key->rule, expected, sizeof(expected));
        return fail(msg, ERR_INVALID, "%s=%s (%s): expected %s", key->name, shown.text, where, expected);
    }
    if (key->use == CONFIG_DEFAULT_ONLY && !is_default(key, value)) {
        return fail(msg, ERR_UNSUPPORTED, "%s=%s (%s): only '%s' is possible: %s", key->name, shown.text, where,
                    key->default_text, key->documentation);
    }
    return OK;
}

static char *text_of(struct bytes value)
{
    char *text = mem_alloc(value.size + 1);
    if (value.size > 0) {
        memcpy(text, value.data, value.size);
    }
    return text;
}

enum err options_set(struct options *options, const char *key, const char *value, enum option_source source,
                     const char *where, struct errmsg *msg)
{
    size_t count;
    const struct option_key *keys = options_keys(&count);
    size_t i = options_index(key);
    assert(source != OPTION_DEFAULT);
    if (i == count) {
        return fail_unknown(key, value, where, msg);
    }
    struct bytes trimmed = config_trim(bytes_from_text(value));
    struct option_value *old = &options->values[i];
    enum err err = check_value(&keys[i], trimmed, where, msg);
    if (err != OK) {
        return err;
    }
    /* The same thing under two names in one place: no order between them would be right. */
    if (old->text != NULL && old->source == source && strcmp(old->name, key) != 0 &&
        !bytes_equal_text(trimmed, old->text)) {
        return fail(msg, ERR_INVALID, "%s=%s (%s): %s=%s (%s) means the same key", key, config_show(trimmed).text,
                    where, old->name, config_show(bytes_from_text(old->text)).text, old->where);
    }
    mem_free(old->text);
    mem_free(old->where);
    mem_free(old->name);
    *old = (struct option_value){text_of(trimmed), mem_strdup(where), mem_strdup(key), source};
    return OK;
}

/* ---- Files ---- */

struct load {
    struct options *options;
    const char *file;
};

static enum err load_on_entry(void *context, const char *key, const char *value, unsigned line, struct errmsg *msg)
{
    const struct load *load = context;
    char where[300];
    (void)snprintf(where, sizeof(where), "%.256s:%u", load->file, line);
    return options_set(load->options, key, value, OPTION_FILE, where, msg);
}

enum err options_load_text(struct options *options, struct bytes text, const char *file, struct errmsg *msg)
{
    struct load load = {options, file};
    struct errmsg cause = {""};
    enum err err = properties_parse(text, &load, load_on_entry, &cause);
    if (err == OK) {
        return OK;
    }
    /* A refused entry says by itself where it stands; the parser knows the line only. */
    bool is_syntax = strncmp(cause.text, "line ", 5) == 0;
    return is_syntax ? fail(msg, err, "%s: %s", file, cause.text) : fail(msg, err, "%s", cause.text);
}

enum err options_load_file(struct options *options, const char *path, struct errmsg *msg)
{
    struct dynbuf text;
    dynbuf_init(&text, OPTIONS_FILE_SIZE_MAX);
    enum err err = process_read_file(path, &text, msg);
    if (err == OK) {
        err = options_load_text(options, dynbuf_bytes(&text), path, msg);
    }
    dynbuf_deinit(&text);
    return err;
}

/* ---- Environment ---- */

/* Whether `name` (size bytes, behind BALSA_) is the key in capitals with _ for the dots. */
static bool is_variable_of(const char *key, const char *name, size_t size)
{
    if (strlen(key) != size) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        char c = key[i] == '.' ? '_' : key[i] >= 'a' && key[i] <= 'z' ? (char)(key[i] - 'a' + 'A') : key[i];
        if (c != name[i]) {
            return false;
        }
    }
    return true;
}

static const char *key_of_variable(const char *name, size_t size)
{
    size_t count;
    const struct option_key *keys = options_keys(&count);
    for (size_t i = 0; i < count; i++) {
        const char *key = keys[i].name;
        bool is_own = strncmp(key, OWN_PREFIX, strlen(OWN_PREFIX)) == 0;
        if (is_variable_of(key, name, size) || (is_own && is_variable_of(key + strlen(OWN_PREFIX), name, size))) {
            return key;
        }
        if (keys[i].alias != NULL && is_variable_of(keys[i].alias, name, size)) {
            return keys[i].alias;
        }
    }
    return NULL;
}

/* BALSA_HOME and BALSA_PORT belong to scripts. A service called balsa, or balsa-something, makes Kubernetes set
 * BALSA_SERVICE_HOST, BALSA_PORT_9092_TCP_ADDR and so on in every container. */
static bool is_foreign_variable(const char *name, size_t size, const char *value)
{
    static const char *const parts[] = {"_SERVICE_HOST", "_SERVICE_PORT", "_TCP", "_UDP", "_SCTP"};
    static const char *const names[] = {"HOME", "PORT", "SERVICE_HOST", "SERVICE_PORT"};
    for (size_t i = 0; i < array_count(names); i++) {
        if (strlen(names[i]) == size && memcmp(names[i], name, size) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < array_count(parts); i++) {
        if (memmem(name, size, parts[i], strlen(parts[i])) != NULL) {
            return true;
        }
    }
    bool is_url = strncmp(value, "tcp://", 6) == 0 || strncmp(value, "udp://", 6) == 0;
    bool is_named_port = size > 13 && memcmp(name, "SERVICE_PORT_", 13) == 0;
    return is_named_port || (is_url && size > 5 && memcmp(name + size - 5, "_PORT", 5) == 0);
}

enum err options_load_environment(struct options *options, char *const *environment, struct errmsg *msg)
{
    size_t prefix = strlen(ENVIRONMENT_PREFIX);
    for (size_t i = 0; environment[i] != NULL; i++) {
        const char *name = environment[i];
        const char *equals = strchr(name, '=');
        if (strncmp(name, ENVIRONMENT_PREFIX, prefix) != 0 || equals == NULL) {
            continue;
        }
        size_t size = (size_t)(equals - name) - prefix;
        const char *key = key_of_variable(name + prefix, size);
        char where[300];
        (void)snprintf(where, sizeof(where), "environment variable %.*s", size < 200 ? (int)(size + prefix) : 200,
                       name);
        if (key == NULL && is_foreign_variable(name + prefix, size, equals + 1)) {
            continue;
        }
        if (key == NULL) {
            return fail(msg, ERR_INVALID, "%s=%s: no option has this name", where,
                        config_show(bytes_from_text(equals + 1)).text);
        }
        enum err err = options_set(options, key, equals + 1, OPTION_ENVIRONMENT, where, msg);
        if (err != OK) {
            return err;
        }
    }
    return OK;
}

/* ---- Decoding ---- */

static int64_t number(const struct options *options, const char *key)
{
    int64_t result = 0;
    bool is_number = config_parse_long(bytes_from_text(options_known_text(options, key)), &result);
    assert(is_number); /* each text was checked when it was set; the defaults by a test */
    return result;
}

static bool truth(const struct options *options, const char *key)
{
    bool result = false;
    bool is_bool = config_parse_bool(bytes_from_text(options_known_text(options, key)), &result);
    assert(is_bool);
    return result;
}

static enum err copy_text(const struct options *options, const char *key, char *target, size_t size, struct errmsg *msg)
{
    const char *text = options_text(options, key, NULL);
    text = text != NULL ? text : "";
    if (strlen(text) >= size) {
        return fail(msg, ERR_TOO_LARGE, "%s (%s): expected at most %zu bytes", key, options_where(options, key),
                    size - 1);
    }
    memcpy(target, text, strlen(text) + 1);
    return OK;
}

static enum err finish_texts(struct options *options, struct errmsg *msg)
{
    enum err err = copy_text(options, "log.dirs", options->log_dirs, sizeof(options->log_dirs), msg);
    err = err == OK ? copy_text(options, "broker.rack", options->rack, sizeof(options->rack), msg) : err;
    err = err == OK ? copy_text(options, "balsa.log.level", options->log_level, sizeof(options->log_level), msg) : err;
    if (err == OK && (options->log_dirs[0] == '\0' || strchr(options->log_dirs, ',') != NULL)) {
        return fail(msg, ERR_INVALID, "log.dirs=%s (%s): expected one directory",
                    config_show(bytes_from_text(options->log_dirs)).text, options_where(options, "log.dirs"));
    }
    return err;
}

/* Bytes a second; a number that nobody reaches is no limit, 0. */
static int64_t rate(const struct options *options, const char *key)
{
    double value = 0;
    bool is_number = config_parse_double(bytes_from_text(options_text(options, key, NULL)), &value);
    assert(is_number);
    return value < 1 ? 1 : value < 1e15 ? (int64_t)value : 0;
}

static void finish_numbers(struct options *options)
{
    unsigned shards = (unsigned)number(options, "balsa.shards");
    unsigned cores = process_cores();
    cores = cores < 1 ? 1 : cores > SHARD_COUNT_MAX ? SHARD_COUNT_MAX : cores;
    options->shards = shards == 0 ? cores : shards;
    options->node_id = (int32_t)number(options, "node.id");
    options->auto_create_topics = truth(options, "auto.create.topics.enable");
    options->num_partitions = (int32_t)number(options, "num.partitions");
    options->default_replication_factor = (int16_t)number(options, "default.replication.factor");
    options->request_size_max = number(options, "socket.request.max.bytes");
    options->request_memory_max = number(options, "queued.max.request.bytes");
    options->connections_max_idle_ms = number(options, "connections.max.idle.ms");
    options->connections_max = (int32_t)number(options, "max.connections");
    options->slow_request_us = number(options, "balsa.slow.request.ms") * 1000;
    options->fetch_size_max = (int32_t)number(options, "fetch.max.bytes");
    options->fetch_session_slots = (int32_t)number(options, "max.incremental.fetch.session.cache.slots");
    const char *selector = options_text(options, "replica.selector.class", NULL);
    options->is_rack_aware = selector != NULL && strcmp(selector, RACK_AWARE_SELECTOR) == 0;
    options->disk_reserve = number(options, "balsa.disk.reserve.bytes");
    options->wal_file_size = (uint64_t)number(options, "balsa.wal.file.bytes");
    options->wal_size_max = (uint64_t)number(options, "balsa.wal.max.bytes");
    options->heartbeat_ms = (int32_t)number(options, "balsa.raft.heartbeat.ms");
    options->election_ms = (int32_t)number(options, "balsa.raft.election.timeout.ms");
    options->session_timeout_ms = number(options, "broker.session.timeout.ms");
    options->voter_timeout_ms = number(options, "balsa.metadata.voter.timeout.ms");
    options->is_leadership_balanced = truth(options, "auto.leader.rebalance.enable");
    options->imbalance_check_interval_us = number(options, "leader.imbalance.check.interval.seconds") * 1000000;
    options->group_session_min_ms = (int32_t)number(options, "group.min.session.timeout.ms");
    options->group_session_max_ms = (int32_t)number(options, "group.max.session.timeout.ms");
    options->group_initial_delay_ms = (int32_t)number(options, "group.initial.rebalance.delay.ms");
    options->group_size_max = (int32_t)number(options, "group.max.size");
    options->moves_max = (unsigned)number(options, "balsa.moves.max");
    options->scrub_bytes_per_second = number(options, "balsa.scrub.bytes.per.second");
    options->catchup_bytes_per_second = number(options, "balsa.catchup.bytes.per.second");
    options->catchups_max = (unsigned)number(options, "balsa.catchups.max");
    options->checkpoint_interval_ms = number(options, "balsa.checkpoint.interval.ms");
    options->is_cleaner_enabled = truth(options, "log.cleaner.enable");
    options->cleaner_memory_size = number(options, "log.cleaner.dedupe.buffer.size");
    options->cleaner_bytes_per_second = rate(options, "log.cleaner.io.max.bytes.per.second");
    options->cleaner_backoff_ms = number(options, "log.cleaner.backoff.ms");
    options->retention_check_interval_ms = number(options, "log.retention.check.interval.ms");
    options->offset_metadata_size_max = (size_t)number(options, "offset.metadata.max.bytes");
    options->offsets_retention_ms = number(options, "offsets.retention.minutes") * 60000;
    options->offsets_check_interval_ms = number(options, "offsets.retention.check.interval.ms");
}

static enum err check_relations(const struct options *options, struct errmsg *msg)
{
    uint64_t wal_files = options->wal_size_max / options->wal_file_size;
    if (options->wal_file_size % WAL_BLOCK_SIZE != 0) {
        return fail(msg, ERR_INVALID, "balsa.wal.file.bytes=%" PRIu64 " (%s): expected a multiple of %zu",
                    options->wal_file_size, options_where(options, "balsa.wal.file.bytes"), WAL_BLOCK_SIZE);
    }
    if (wal_files < WAL_FILE_COUNT_MIN || wal_files > WAL_FILE_COUNT_MAX) {
        return fail(msg, ERR_INVALID,
                    "balsa.wal.max.bytes=%" PRIu64 " (%s): expected %d to %d times balsa.wal.file.bytes=%" PRIu64
                    " (%s)",
                    options->wal_size_max, options_where(options, "balsa.wal.max.bytes"), WAL_FILE_COUNT_MIN,
                    WAL_FILE_COUNT_MAX, options->wal_file_size, options_where(options, "balsa.wal.file.bytes"));
    }
    if (options->election_ms < HEARTBEATS_MIN * options->heartbeat_ms) {
        return fail(
            msg, ERR_INVALID,
            "balsa.raft.election.timeout.ms=%d (%s): expected at least %d times balsa.raft.heartbeat.ms=%d (%s)",
            options->election_ms, options_where(options, "balsa.raft.election.timeout.ms"), HEARTBEATS_MIN,
            options->heartbeat_ms, options_where(options, "balsa.raft.heartbeat.ms"));
    }
    if (options->request_size_max <= number(options, "message.max.bytes")) {
        return fail(msg, ERR_INVALID,
                    "socket.request.max.bytes=%" PRId64 " (%s): expected more than message.max.bytes=%s (%s)",
                    options->request_size_max, options_where(options, "socket.request.max.bytes"),
                    options_known_text(options, "message.max.bytes"), options_where(options, "message.max.bytes"));
    }
    if (options->request_memory_max < options->request_size_max) {
        return fail(msg, ERR_INVALID,
                    "queued.max.request.bytes=%" PRId64 " (%s): expected at least socket.request.max.bytes=%" PRId64
                    " (%s)",
                    options->request_memory_max, options_where(options, "queued.max.request.bytes"),
                    options->request_size_max, options_where(options, "socket.request.max.bytes"));
    }
    return OK;
}

/* Kafka's order: the finest unit that is set wins, whatever else is set. -1 stays -1; zero has no meaning. */
static enum err derive_ms(const struct options *options, const char *const *names, const int64_t *units, size_t count,
                          char *target, size_t size, struct errmsg *msg)
{
    for (size_t i = 0; i < count; i++) {
        enum option_source source;
        const char *text = options_text(options, names[i], &source);
        if (text == NULL || source == OPTION_DEFAULT) {
            continue;
        }
        int64_t value = number(options, names[i]);
        if (value == 0) {
            return fail(msg, ERR_INVALID, "%s=0 (%s): expected -1 or a positive number", names[i],
                        options_where(options, names[i]));
        }
        (void)snprintf(target, size, "%" PRId64, value < 0 ? -1 : value * units[i]);
        return OK;
    }
    return OK;
}

static enum err finish_times(struct options *options, struct errmsg *msg)
{
    static const char *const retention[] = {"log.retention.ms", "log.retention.minutes", "log.retention.hours"};
    static const char *const roll[] = {"log.roll.ms", "log.roll.hours"};
    static const int64_t retention_units[] = {1, 60000, 3600000};
    static const int64_t roll_units[] = {1, 3600000};
    enum err err = derive_ms(options, retention, retention_units, array_count(retention), options->derived_retention_ms,
                             sizeof(options->derived_retention_ms), msg);
    return err != OK ? err
                     : derive_ms(options, roll, roll_units, array_count(roll), options->derived_roll_ms,
                                 sizeof(options->derived_roll_ms), msg);
}

static void warn_of_idle_keys(const struct options *options)
{
    size_t count;
    const struct option_key *keys = options_keys(&count);
    for (size_t i = 0; i < count; i++) {
        const struct option_value *value = &options->values[i];
        if (value->text != NULL && keys[i].use == CONFIG_NO_EFFECT) {
            trace(WARN, MAIN, "option has no effect", KV("key", keys[i].name), KV("where", value->where));
        }
    }
}

enum err options_finish(struct options *options, struct errmsg *msg)
{
    enum err err = finish_texts(options, msg);
    if (err == OK) {
        finish_numbers(options);
        err = check_relations(options, msg);
    }
    err = err == OK ? finish_times(options, msg) : err;
    err = err == OK ? options_finish_listeners(options, msg) : err;
    if (err == OK) {
        warn_of_idle_keys(options);
    }
    return err;
}

/* ---- What topics inherit ---- */

static const char *topic_default(void *context, const char *broker_key)
{
    const struct options *options = context;
    enum option_source source = OPTION_DEFAULT;
    if (strcmp(broker_key, "log.retention.ms") == 0) {
        return options->derived_retention_ms[0] != '\0' ? options->derived_retention_ms : NULL;
    }
    if (strcmp(broker_key, "log.roll.ms") == 0) {
        return options->derived_roll_ms[0] != '\0' ? options->derived_roll_ms : NULL;
    }
    const char *text = options_text(options, broker_key, &source);
    return source == OPTION_DEFAULT ? NULL : text;
}

struct topic_config_defaults options_topic_defaults(const struct options *options)
{
    return (struct topic_config_defaults){.value = topic_default, .context = (void *)(uintptr_t)options};
}
