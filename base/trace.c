/* Happy path: trace_event() packs the event into the next slot of the calling thread's ring, and
 *             if its level is on, formats it from the arguments and writes one line.
 * Failure:    an event too large for its slot loses its last arguments and says so (cut=true); a
 *             line that stderr does not take is lost.
 * Close:      a thread that ends leaves its ring in the list, for a report, until a new thread
 *             takes it over. So there are never more rings than there were threads at one time. */
#include "base/trace.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"

enum {
    RING_EVENT_COUNT = 256,
    SLOT_SIZE = 256,
    SLOT_DATA_SIZE = SLOT_SIZE - 48,
    RING_TEXT_SIZE_MAX = 120,
    LINE_TEXT_SIZE_MAX = 512, /* a whole errmsg */
    LINE_SIZE_MAX = 4096,     /* PIPE_BUF: lines of several threads do not mix in a pipe */
    LINE_TAIL_SIZE = 16,      /* kept free for the end of a line that was cut */
    NAME_SIZE = 16,
    ARG_COUNT_MAX = 32, /* more than a slot can hold */
    LOCK_TRIES_MAX = 10000,
};

/* Arguments are packed: key pointer, kind, then the number, or a size byte and the text. */
struct slot {
    uint64_t sequence; /* of the event in its ring, from 1; 0: empty */
    int64_t wall_ms;
    const char *event;
    char name[NAME_SIZE];
    uint8_t level;
    uint8_t component;
    bool is_cut;
    uint8_t reserved;
    uint32_t size; /* of data */
    uint8_t data[SLOT_DATA_SIZE];
};
_Static_assert(sizeof(struct slot) == SLOT_SIZE, "the ring's memory is what trace.h says");

/* One thread writes, and a report may read at any moment: the lock is held for one slot's copy, so
 * it is nearly always free, and cheaper than a mutex. */
struct ring {
    atomic_bool is_locked;
    bool is_owned; /* under registry_lock */
    uint64_t sequence;
    struct ring *next; /* set once, before the ring is in the list */
    struct slot slots[RING_EVENT_COUNT];
};

struct thread {
    struct ring *ring;
    char name[NAME_SIZE];
    int64_t (*wall_ms)(void *context);
    void *context;
};

struct line {
    size_t size;
    bool is_cut;
    char text[LINE_SIZE_MAX];
};

static const char *const component_names[TRACE_COMPONENT_COUNT] = {
#define TRACE_NAME(name, text) [TRACE_##name] = text,
    TRACE_COMPONENT_MAP(TRACE_NAME)
#undef TRACE_NAME
};
static const char *const level_names[] = {"debug", "info", "warn", "error"};

static _Atomic uint8_t levels[TRACE_COMPONENT_COUNT] = {
#define TRACE_LEVEL(name, text) [TRACE_##name] = TRACE_INFO,
    TRACE_COMPONENT_MAP(TRACE_LEVEL)
#undef TRACE_LEVEL
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(struct ring *) rings;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static _Thread_local struct thread self;

/* ---- Rings ----------------------------------------------------------------------------------- */

static bool ring_lock(struct ring *ring)
{
    for (int tries = 0; tries < LOCK_TRIES_MAX; tries++) {
        if (!atomic_exchange_explicit(&ring->is_locked, true, memory_order_acquire)) {
            return true;
        }
        (void)sched_yield();
    }
    return false;
}

static void ring_unlock(struct ring *ring)
{
    atomic_store_explicit(&ring->is_locked, false, memory_order_release);
}

static void ring_abandon(void *memory)
{
    struct ring *ring = memory;
    self.ring = NULL;
    (void)pthread_mutex_lock(&registry_lock);
    ring->is_owned = false;
    (void)pthread_mutex_unlock(&registry_lock);
}

static void key_make(void)
{
    (void)pthread_key_create(&key, ring_abandon);
}

static struct ring *ring_of_thread(void)
{
    if (self.ring != NULL) {
        return self.ring;
    }
    (void)pthread_once(&key_once, key_make);
    (void)pthread_mutex_lock(&registry_lock);
    struct ring *ring = atomic_load(&rings);
    while (ring != NULL && ring->is_owned) {
        ring = ring->next;
    }
    if (ring == NULL) {
        ring = mem_alloc(sizeof *ring);
        ring->next = atomic_load(&rings);
        atomic_store(&rings, ring);
    }
    ring->is_owned = true;
    (void)pthread_mutex_unlock(&registry_lock);
    (void)pthread_setspecific(key, ring);
    self.ring = ring;
    return ring;
}

/* False: no room, the slot is left as it was. */
static bool slot_put_arg(struct slot *slot, const struct trace_arg *arg)
{
    bool is_text = arg->kind == TRACE_KIND_TEXT || arg->kind == TRACE_KIND_BYTES;
    size_t text_size = 0;
    if (arg->pointer != NULL && is_text) {
        text_size = arg->kind == TRACE_KIND_TEXT ? strnlen(arg->pointer, RING_TEXT_SIZE_MAX) : (size_t)arg->number;
        text_size = text_size < RING_TEXT_SIZE_MAX ? text_size : RING_TEXT_SIZE_MAX;
    }
    size_t head = sizeof arg->key + 1;
    size_t left = sizeof slot->data - slot->size;
    if (left < head + (is_text ? 1 + text_size : sizeof arg->number)) {
        return false;
    }
    uint8_t *at = slot->data + slot->size;
    memcpy(at, &arg->key, sizeof arg->key);
    at[head - 1] = (uint8_t)(is_text ? TRACE_KIND_BYTES : arg->kind);
    at += head;
    if (is_text) {
        *at++ = (uint8_t)text_size;
        if (text_size > 0) {
            memcpy(at, arg->pointer, text_size);
        }
        at += text_size;
    } else {
        memcpy(at, &arg->number, sizeof arg->number);
        at += sizeof arg->number;
    }
    slot->size = (uint32_t)(at - slot->data);
    return true;
}

/* The arguments of a slot, pointing into it. */
static size_t slot_args(const struct slot *slot, struct trace_arg args[static ARG_COUNT_MAX])
{
    size_t count = 0;
    const uint8_t *at = slot->data;
    const uint8_t *end = slot->data + slot->size;
    while (at < end && count < ARG_COUNT_MAX) {
        struct trace_arg *arg = &args[count++];
        *arg = (struct trace_arg){.key = NULL};
        memcpy(&arg->key, at, sizeof arg->key);
        at += sizeof arg->key;
        arg->kind = (enum trace_kind)at[0];
        at += 1;
        if (arg->kind == TRACE_KIND_BYTES) {
            arg->number = *at++;
            arg->pointer = at;
            at += arg->number;
        } else {
            memcpy(&arg->number, at, sizeof arg->number);
            at += sizeof arg->number;
        }
    }
    return count;
}

static void ring_put(struct ring *ring, const struct slot *head, const struct trace_arg *args, size_t count)
{
    if (!ring_lock(ring)) {
        return;
    }
    uint64_t sequence = ++ring->sequence;
    struct slot *slot = &ring->slots[sequence % RING_EVENT_COUNT];
    memcpy(slot, head, offsetof(struct slot, data));
    slot->sequence = sequence;
    for (size_t i = 0; i < count && !slot->is_cut; i++) {
        slot->is_cut = !slot_put_arg(slot, &args[i]);
    }
    ring_unlock(ring);
}

/* ---- Lines ----------------------------------------------------------------------------------- */

static void line_put(struct line *line, const char *text, size_t size)
{
    size_t left = sizeof line->text - LINE_TAIL_SIZE - line->size;
    if (line->is_cut || size > left) {
        line->is_cut = true;
        return;
    }
    memcpy(line->text + line->size, text, size);
    line->size += size;
}

static void line_text(struct line *line, const char *text)
{
    line_put(line, text, strlen(text));
}

static bool is_plain(uint8_t byte)
{
    return byte > ' ' && byte < 0x7f && byte != '"' && byte != '=' && byte != '\\';
}

/* Quoted when it holds more than plain characters. All but printable ASCII is escaped: what a
 * client sends can neither begin a line of its own nor reach a terminal as a control sequence. */
static void line_value(struct line *line, const char *text, size_t size)
{
    bool is_quoted = size == 0;
    for (size_t i = 0; i < size && !is_quoted; i++) {
        is_quoted = !is_plain((uint8_t)text[i]);
    }
    if (!is_quoted) {
        line_put(line, text, size);
        return;
    }
    static const char hex[] = "0123456789abcdef";
    line_put(line, "\"", 1);
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = (uint8_t)text[i];
        if (byte == '\n' || byte == '\t' || byte == '\r') {
            line_text(line, byte == '\n' ? "\\n" : byte == '\t' ? "\\t" : "\\r");
        } else if (byte == '"' || byte == '\\') {
            line_put(line, (const char[]){'\\', (char)byte}, 2);
        } else if (byte >= ' ' && byte < 0x7f) {
            line_put(line, (const char *)&byte, 1);
        } else {
            line_put(line, (const char[]){'\\', 'x', hex[byte >> 4], hex[byte & 15]}, 4);
        }
    }
    if (line->is_cut) {
        line->text[line->size++] = '"'; /* out of the tail: the line stays well-formed */
    } else {
        line_put(line, "\"", 1);
    }
}

static void line_arg(struct line *line, const struct trace_arg *arg)
{
    char number[24];
    if (line->is_cut) {
        return;
    }
    line_text(line, " ");
    line_text(line, arg->key);
    line_text(line, "=");
    switch (arg->kind) {
    case TRACE_KIND_INT:
        (void)snprintf(number, sizeof number, "%lld", (long long)arg->number);
        line_text(line, number);
        break;
    case TRACE_KIND_UINT:
        (void)snprintf(number, sizeof number, "%llu", (unsigned long long)arg->number);
        line_text(line, number);
        break;
    case TRACE_KIND_TEXT:
        if (arg->pointer == NULL) {
            line_text(line, "null");
        } else {
            line_value(line, arg->pointer, strnlen(arg->pointer, LINE_TEXT_SIZE_MAX));
        }
        break;
    case TRACE_KIND_BYTES: {
        size_t size = arg->pointer == NULL ? 0 : (size_t)arg->number;
        line_value(line, arg->pointer, size < LINE_TEXT_SIZE_MAX ? size : LINE_TEXT_SIZE_MAX);
        break;
    }
    }
}

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Not by gmtime_r(), which takes a lock of the C library that a dying process may hold. */
void trace_time(int64_t wall_ms, char *text, size_t size)
{
    static const int64_t ms_max = INT64_C(253402300799999); /* the end of the year 9999 */
    static const uint8_t month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    wall_ms = wall_ms < 0 ? 0 : wall_ms > ms_max ? ms_max : wall_ms;
    int64_t ms = wall_ms % 86400000;
    int days = (int)(wall_ms / 86400000);
    int year = 1970;
    while (days >= 365 + is_leap(year)) {
        days -= 365 + is_leap(year);
        year++;
    }
    int month = 0;
    while (days >= month_days[month] + (month == 1 && is_leap(year))) {
        days -= month_days[month] + (month == 1 && is_leap(year));
        month++;
    }
    (void)snprintf(text, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", year, month + 1, days + 1, (int)(ms / 3600000),
                   (int)(ms / 60000 % 60), (int)(ms / 1000 % 60), (int)(ms % 1000));
}

static void line_time(struct line *line, int64_t wall_ms)
{
    char text[TRACE_TIME_SIZE];
    trace_time(wall_ms, text, sizeof(text));
    line_text(line, text);
}

static _Atomic uint64_t lines_lost;

uint64_t trace_lines_lost(void)
{
    return atomic_load_explicit(&lines_lost, memory_order_relaxed);
}

static void line_write(const struct line *line)
{
    const char *at = line->text;
    size_t left = line->size;
    while (left > 0) {
        ssize_t size = write(STDERR_FILENO, at, left); /* tidy: write: the log does not pass the seam */
        if (size < 0 && errno == EINTR) {
            continue;
        }
        if (size <= 0) {
            atomic_fetch_add_explicit(&lines_lost, 1, memory_order_relaxed);
            return;
        }
        at += size;
        left -= (size_t)size;
    }
}

static void event_print(const struct slot *head, const struct trace_arg *args, size_t count)
{
    struct line line;
    line.size = 0;
    line.is_cut = false;
    line_time(&line, head->wall_ms);
    line_text(&line, " level=");
    line_text(&line, level_names[head->level]);
    if (head->name[0] != '\0') {
        line_text(&line, " shard=");
        line_value(&line, head->name, strnlen(head->name, sizeof head->name));
    }
    line_text(&line, " component=");
    line_text(&line, component_names[head->component]);
    line_text(&line, " event=");
    line_value(&line, head->event, strlen(head->event));
    for (size_t i = 0; i < count; i++) {
        line_arg(&line, &args[i]);
    }
    const char *end = line.is_cut || head->is_cut ? " cut=true\n" : "\n";
    size_t size = strlen(end);
    memcpy(line.text + line.size, end, size);
    line.size += size;
    line_write(&line);
}

static void text_print(const char *text)
{
    struct line line;
    line.size = 0;
    line.is_cut = false;
    line_text(&line, text);
    line_write(&line);
}

/* ---- Public ---------------------------------------------------------------------------------- */

static int64_t wall_now_ms(void)
{
    if (self.wall_ms != NULL) {
        return self.wall_ms(self.context);
    }
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* tidy: clock_gettime: threads that have no env */
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void trace_event(enum trace_level level, enum trace_component component, const char *event,
                 const struct trace_arg *args, size_t count)
{
    assert(level <= TRACE_ERROR);
    assert(component < TRACE_COMPONENT_COUNT);
    assert(count >= 1);
    int errno_before = errno; /* a caller traces a failure and then looks at errno */
    struct slot head;
    head.wall_ms = wall_now_ms();
    head.event = event;
    memcpy(head.name, self.name, sizeof head.name);
    head.level = (uint8_t)level;
    head.component = (uint8_t)component;
    head.is_cut = false;
    head.reserved = 0;
    head.size = 0;
    head.sequence = 0;
    ring_put(ring_of_thread(), &head, args + 1, count - 1);
    if (level >= atomic_load_explicit(&levels[component], memory_order_relaxed)) {
        event_print(&head, args + 1, count - 1);
    }
    errno = errno_before;
}

void trace_set_level(enum trace_component component, enum trace_level level)
{
    assert(component < TRACE_COMPONENT_COUNT);
    assert(level <= TRACE_ERROR);
    atomic_store_explicit(&levels[component], (uint8_t)level, memory_order_relaxed);
}

bool trace_set_level_text(const char *component, const char *level)
{
    size_t level_number = 0;
    while (level_number < array_count(level_names) && strcmp(level, level_names[level_number]) != 0) {
        level_number++;
    }
    if (level_number == array_count(level_names)) {
        return false;
    }
    bool is_all = strcmp(component, "all") == 0;
    bool is_known = is_all;
    for (size_t i = 0; i < TRACE_COMPONENT_COUNT; i++) {
        if (is_all || strcmp(component, component_names[i]) == 0) {
            trace_set_level((enum trace_component)i, (enum trace_level)level_number);
            is_known = true;
        }
    }
    return is_known;
}

void trace_set_thread(const char *name, int64_t (*wall_ms)(void *), void *context)
{
    memset(self.name, 0, sizeof self.name);
    if (name != NULL) {
        memcpy(self.name, name, strnlen(name, sizeof self.name - 1));
    }
    self.wall_ms = wall_ms;
    self.context = context;
}

static void ring_print(struct ring *ring)
{
    if (!ring_lock(ring)) {
        text_print("--- trace ring: its thread is stuck in it ---\n");
        return;
    }
    uint64_t last = ring->sequence;
    ring_unlock(ring);
    text_print("--- trace ring of one thread, oldest event first ---\n");
    uint64_t first = last >= RING_EVENT_COUNT ? last - RING_EVENT_COUNT + 1 : 1;
    for (uint64_t sequence = first; sequence <= last; sequence++) {
        struct slot slot;
        if (!ring_lock(ring)) {
            return;
        }
        memcpy(&slot, &ring->slots[sequence % RING_EVENT_COUNT], sizeof slot);
        ring_unlock(ring);
        if (slot.sequence != sequence) {
            continue; /* overwritten meanwhile */
        }
        struct trace_arg args[ARG_COUNT_MAX];
        size_t count = slot_args(&slot, args);
        event_print(&slot, args, count);
    }
}

void trace_print_rings(void)
{
    for (struct ring *ring = atomic_load(&rings); ring != NULL; ring = ring->next) {
        ring_print(ring);
    }
    text_print("--- end of the trace rings ---\n");
}
