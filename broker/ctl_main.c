/* balsactl: reads its words, makes one call, prints what comes. Admin addresses are tried in turn as long as none has
 * heard of the call, so that trying the next one can never do a thing twice.
 *
 *   call ── answered ──> done
 *             │ --wait
 *             v
 *           question ── not done ──> half a second ──> question ...      (any address; it may be repeated)
 *             │ done, or nobody has answered for a minute, or --timeout
 *
 * produce and consume ask for the brokers in that way, then do the rest over Kafka's protocol (ctl_records). */

#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "base/uv_env.h"
#include "broker/ctl_records.h"
#include "broker/grpc_client.h"
#include "metadata/config_value.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE "/balsa.admin.v1.Admin/"
#define ADMIN_DEFAULT "127.0.0.1:9292"
#define TIMEOUT_DEFAULT_S 30
#define TIMEOUT_MAX_S 86400
#define WORD_COUNT_MAX 2048
#define WAIT_STEP_US (500 * 1000)
#define WAIT_ANSWER_US (10 * 1000000LL)
#define WAIT_SILENCE_US (60 * 1000000LL)

struct ctl {
    struct uv_env *uv;
    struct env *env;
    const char *admin;
    struct bytes addresses_left;
    int64_t timeout_us;
    bool is_json, is_raw;
    const struct ctl_command *command;
    struct arena arena;
    ProtobufCMessage *request;
    struct grpc_client *client;
    struct grpc_client_call call;
    char path[128];
    struct task again;
    bool has_printed;
    enum ctl_exit code;
    /* --wait */
    bool wants_wait, has_timeout;
    const struct ctl_wait *wait; /* NULL: not yet, or not at all */
    ProtobufCMessage *question;
    struct ctl_progress progress;
    bool is_done;
    int64_t heard_us, end_us;
    struct timer timer;
    /* produce and consume */
    struct ctl_records *records;
    char host[256]; /* of the admin address that was asked last */
};

static int usage_error(const char *text)
{
    (void)fprintf(stderr, "balsactl: %s\nTry 'balsactl --help'.\n", text);
    return CTL_USAGE;
}

/* ---- The call ---- */

static void next_address(struct ctl *ctl);
static void wait_begin(struct ctl *ctl);
static void on_wait_message(struct grpc_client_call *call, struct bytes message);
static void on_wait_done(struct grpc_client_call *call);
static void on_brokers(struct grpc_client_call *call, struct bytes message);
static void on_brokers_done(struct grpc_client_call *call);

static void on_message(struct grpc_client_call *call, struct bytes message)
{
    struct ctl *ctl = call->owner;
    ProtobufCMessage *answer = protobuf_c_message_unpack(ctl->command->response, NULL, message.size, message.data);
    struct dynbuf out;
    if (answer == NULL) {
        (void)fprintf(stderr, "balsactl: the answer is no %s: is the broker of another version?\n",
                      ctl->command->response->name);
        return;
    }
    dynbuf_init(&out, GRPC_ANSWER_SIZE_MAX);
    enum err err = ctl->is_json ? ctl_print_json(answer, &out) : ctl_print_text(answer, &out);
    if (err == OK && (ctl->is_json || out.size > 0)) {
        (void)fwrite(out.data, 1, out.size, stdout);
        (void)fputs(ctl->is_json ? "\n" : "", stdout);
        (void)fflush(stdout);
        ctl->has_printed = true;
    }
    dynbuf_deinit(&out);
    protobuf_c_message_free_unpacked(answer, NULL);
}

static enum ctl_exit exit_of(enum grpc_status status)
{
    return status == GRPC_OK                                            ? CTL_DONE
           : status == GRPC_UNAVAILABLE                                 ? CTL_UNREACHABLE
           : status == GRPC_DEADLINE_EXCEEDED || status == GRPC_UNKNOWN ? CTL_IN_DOUBT
                                                                        : CTL_REFUSED;
}

static void on_client_closed(void *owner)
{
    struct ctl *ctl = owner;
    uv_env_stop(ctl->uv);
}

static void on_client_closed_again(void *owner)
{
    struct ctl *ctl = owner;
    next_address(ctl);
}

static void on_done(struct grpc_client_call *call)
{
    struct ctl *ctl = call->owner;
    ctl->code = exit_of(call->status);
    if (call->is_unreached && ctl->addresses_left.size > 0) {
        grpc_client_close(ctl->client, ctl, on_client_closed_again);
        return;
    }
    if (call->status != GRPC_OK) {
        (void)fprintf(stderr, "balsactl: %s\n", call->text[0] != '\0' ? call->text : grpc_status_name(call->status));
        if (call->is_unreached) {
            (void)fprintf(stderr, "Name a broker's admin address with --admin or BALSA_ADMIN; it is the broker's "
                                  "balsa.admin.listeners.\n");
        }
    } else if (!ctl->has_printed && ctl->command->done != NULL && !ctl->is_json) {
        (void)printf("%s\n", ctl->command->done);
    }
    if (call->status == GRPC_OK && ctl->wants_wait) {
        wait_begin(ctl);
        return;
    }
    grpc_client_close(ctl->client, ctl, on_client_closed);
}

static void make_call(struct ctl *ctl)
{
    bool is_waiting = ctl->wait != NULL;
    bool is_for_brokers = ctl->records != NULL;
    ctl->call = (struct grpc_client_call){.path = ctl->path,
                                          .request = is_waiting || is_for_brokers ? ctl->question : ctl->request,
                                          .timeout_us = is_waiting ? WAIT_ANSWER_US : ctl->timeout_us,
                                          .owner = ctl,
                                          .on_message = is_for_brokers ? on_brokers
                                                        : is_waiting   ? on_wait_message
                                                                       : on_message,
                                          .cb = is_for_brokers ? on_brokers_done
                                                : is_waiting   ? on_wait_done
                                                               : on_done};
    grpc_client_call(ctl->client, &ctl->call);
}

static void next_address(struct ctl *ctl)
{
    struct bytes address = BYTES_NONE;
    uint16_t port;
    (void)config_list_next(&ctl->addresses_left, &address);
    if (!ctl_parse_address(address, ctl->host, sizeof(ctl->host), &port)) {
        ctl->code = CTL_USAGE;
        (void)fprintf(stderr, "balsactl: --admin '%s': expected host:port, more with commas between\n", ctl->admin);
        uv_env_stop(ctl->uv);
        return;
    }
    ctl->client = grpc_client_open(ctl->env, ctl->host, port);
    make_call(ctl);
}

/* ---- --wait ---- */

static void on_wait_timer(struct timer *timer)
{
    struct ctl *ctl = container_of(timer, struct ctl, timer);
    if (ctl->client != NULL) {
        make_call(ctl);
        return;
    }
    if (ctl->addresses_left.size == 0) {
        ctl->addresses_left = bytes_from_text(ctl->admin);
    }
    next_address(ctl);
}

static void wait_begin(struct ctl *ctl)
{
    int64_t now_us = env_now_us(ctl->env);
    ctl->wait = ctl_wait_find(ctl->command);
    assert(ctl->wait != NULL);
    ctl->question = arena_alloc(&ctl->arena, ctl->wait->request->sizeof_message);
    assert(ctl->question != NULL);
    protobuf_c_message_init(ctl->wait->request, ctl->question);
    ctl_wait_ask(ctl->request, ctl->question);
    (void)snprintf(ctl->path, sizeof(ctl->path), SERVICE "%s", ctl->wait->method);
    ctl->heard_us = now_us;
    ctl->end_us = ctl->has_timeout ? now_us + ctl->timeout_us : INT64_MAX;
    timer_init(&ctl->timer, on_wait_timer);
    make_call(ctl);
}

static void on_wait_message(struct grpc_client_call *call, struct bytes message)
{
    struct ctl *ctl = call->owner;
    ProtobufCMessage *answer = protobuf_c_message_unpack(ctl->wait->response, NULL, message.size, message.data);
    if (answer == NULL) {
        return; /* taken for silence */
    }
    ctl->heard_us = env_now_us(ctl->env);
    ctl->is_done = ctl->wait->is_done(ctl->request, answer, &ctl->progress);
    if (!ctl->is_done && !ctl->is_json) {
        ctl_progress_print(&ctl->progress, ctl->heard_us, stderr);
    }
    protobuf_c_message_free_unpacked(answer, NULL);
}

static void on_wait_client_closed(void *owner)
{
    struct ctl *ctl = owner;
    ctl->client = NULL;
    env_timer(ctl->env, &ctl->timer, WAIT_STEP_US);
}

static void on_wait_done(struct grpc_client_call *call)
{
    struct ctl *ctl = call->owner;
    int64_t now_us = env_now_us(ctl->env);
    if (ctl->is_done) {
        if (!ctl->is_json) {
            (void)printf("%s\n", ctl->wait->done);
        }
    } else if (now_us >= ctl->end_us || now_us - ctl->heard_us > WAIT_SILENCE_US) {
        (void)fprintf(stderr, "balsactl: it was begun, goes on in the cluster, and is not done yet%s%s\n",
                      call->status != GRPC_OK ? ": " : "", call->status != GRPC_OK ? call->text : "");
        ctl->code = CTL_IN_DOUBT;
    } else if (call->status == GRPC_OK) {
        env_timer(ctl->env, &ctl->timer, WAIT_STEP_US);
        return;
    } else {
        grpc_client_close(ctl->client, ctl, on_wait_client_closed);
        return;
    }
    grpc_client_close(ctl->client, ctl, on_client_closed);
}

/* ---- produce and consume ---- */

static enum record_format format_of(const struct ctl *ctl)
{
    return ctl->is_json ? RECORD_JSON : ctl->is_raw ? RECORD_RAW : RECORD_TEXT;
}

static void on_records_ended(struct task *task)
{
    struct ctl *ctl = container_of(task, struct ctl, again);
    ctl_records_close(ctl->records);
    ctl->records = NULL;
    uv_env_stop(ctl->uv);
}

static void on_records_end(void *owner, enum ctl_exit code)
{
    struct ctl *ctl = owner;
    ctl->code = code;
    task_init(&ctl->again, on_records_ended);
    env_task(ctl->env, &ctl->again);
}

static void on_signal(void *owner, int signal)
{
    struct ctl *ctl = owner;
    if (ctl->records != NULL && signal != SIGUSR1) {
        ctl_records_stop(ctl->records);
    }
}

static void records_begin(void *owner)
{
    struct ctl *ctl = owner;
    uv_env_on_signal(ctl->uv, ctl, on_signal); /* until now there is nothing to be ended well */
    ctl_records_begin(ctl->records);
}

static void on_brokers(struct grpc_client_call *call, struct bytes message)
{
    struct ctl *ctl = call->owner;
    Balsa__Admin__V1__ClusterStatusResponse *status =
        balsa__admin__v1__cluster_status_response__unpack(NULL, message.size, message.data);
    if (status != NULL) { /* else there are no brokers, which is told */
        ctl_records_add(ctl->records, status, ctl->host);
        balsa__admin__v1__cluster_status_response__free_unpacked(status, NULL);
    }
}

static void on_brokers_done(struct grpc_client_call *call)
{
    struct ctl *ctl = call->owner;
    if (call->status == GRPC_OK) {
        grpc_client_close(ctl->client, ctl, records_begin);
    } else {
        on_done(call);
    }
}

static void records_open(struct ctl *ctl)
{
    struct ctl_records_params params = {
        .arguments = ctl->request, .format = format_of(ctl), .owner = ctl, .on_end = on_records_end};
    ctl->records = ctl_records_open(ctl->command, &params, ctl->env, ctl->timeout_us);
    ctl->question = arena_alloc(&ctl->arena, sizeof(Balsa__Admin__V1__ClusterStatusRequest));
    assert(ctl->question != NULL);
    protobuf_c_message_init(&balsa__admin__v1__cluster_status_request__descriptor, ctl->question);
    (void)snprintf(ctl->path, sizeof(ctl->path), SERVICE "ClusterStatus");
}

static void on_start(struct task *task)
{
    struct ctl *ctl = container_of(task, struct ctl, again);
    if (ctl->records != NULL && !ctl_records_needs_admin(ctl->records)) {
        records_begin(ctl);
    } else {
        next_address(ctl);
    }
}

static int run(struct ctl *ctl)
{
    uv_process_prepare(1); /* whoever hangs up, a broker or the end of a pipe, is told of by an error */
    struct metrics *metrics = metrics_open();
    struct errmsg msg = {""};
    if (uv_env_open(0, metrics, &ctl->uv, &msg) != OK) {
        (void)fprintf(stderr, "balsactl: %s\n", msg.text);
        return CTL_UNREACHABLE;
    }
    ctl->env = uv_env_env(ctl->uv);
    ctl->addresses_left = bytes_from_text(ctl->admin);
    if (ctl->command->method == NULL) {
        records_open(ctl);
    } else {
        (void)snprintf(ctl->path, sizeof(ctl->path), SERVICE "%s", ctl->command->method);
    }
    task_init(&ctl->again, on_start);
    env_task(ctl->env, &ctl->again);
    uv_env_run(ctl->uv);
    if (ctl->records != NULL) { /* no broker told of the others */
        ctl_records_close(ctl->records);
    }
    uv_env_close(ctl->uv);
    metrics_close(metrics);
    return (int)ctl->code;
}

/* ---- Words ---- */

static bool take_global(struct ctl *ctl, const char *flag, const char *value, struct errmsg *msg)
{
    if (strcmp(flag, "--admin") == 0) {
        ctl->admin = value;
        return true;
    }
    if (strcmp(flag, "--output") == 0) {
        ctl->is_json = strcmp(value, "json") == 0;
        ctl->is_raw = strcmp(value, "raw") == 0;
        if (!ctl->is_json && !ctl->is_raw && strcmp(value, "table") != 0) {
            (void)fail(msg, ERR_INVALID, "--output %s: expected table or json; consume has raw as well", value);
        }
        return true;
    }
    if (strcmp(flag, "--timeout") == 0) {
        int64_t seconds = 0;
        if (!config_parse_long(bytes_from_text(value), &seconds) || seconds < 1 || seconds > TIMEOUT_MAX_S) {
            (void)fail(msg, ERR_INVALID, "--timeout %s: expected seconds, at most a day", value);
        }
        ctl->timeout_us = seconds * 1000000;
        ctl->has_timeout = true;
        return true;
    }
    return false;
}

/* Takes the flags of every command out; what is left is the command's. */
static size_t take_globals(struct ctl *ctl, int argc, char **argv, char **words, bool *is_help, struct errmsg *msg)
{
    size_t count = 0;
    for (int i = 1; i < argc && count < WORD_COUNT_MAX; i++) {
        bool is_last = i + 1 == argc;
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            *is_help = true;
        } else if (strcmp(argv[i], "--wait") == 0) {
            ctl->wants_wait = true;
        } else if (strncmp(argv[i], "--", 2) == 0 && !is_last && take_global(ctl, argv[i], argv[i + 1], msg)) {
            i++;
        } else {
            words[count++] = argv[i];
        }
    }
    return count;
}

static int print_about(char **words, size_t count, bool is_help)
{
    if (count == 1 && strcmp(words[0], "completion") == 0) {
        ctl_print_completion(stdout);
    } else if (count == 1 && strcmp(words[0], "--help=man") == 0) {
        ctl_print_man(stdout);
    } else if (count == 0 || is_help) {
        ctl_print_help(is_help ? stdout : stderr);
        return is_help ? CTL_DONE : CTL_USAGE;
    } else {
        return usage_error("there is no such command");
    }
    return CTL_DONE;
}

int main(int argc, char **argv)
{
    static char *words[WORD_COUNT_MAX];
    const char *admin = getenv("BALSA_ADMIN");
    struct ctl ctl = {.admin = admin != NULL ? admin : ADMIN_DEFAULT, .timeout_us = TIMEOUT_DEFAULT_S * 1000000LL};
    struct errmsg msg = {""};
    bool is_help = false;
    size_t used = 0;
    size_t count = take_globals(&ctl, argc, argv, words, &is_help, &msg);
    ctl.command = ctl_find(words, count, &used);
    if (msg.text[0] != '\0') {
        return usage_error(msg.text);
    }
    if (ctl.command == NULL) {
        return print_about(words, count, is_help);
    }
    if (is_help) {
        ctl_print_usage(ctl.command, stdout);
        return CTL_DONE;
    }
    if (ctl.is_raw && ctl.command->method != NULL) {
        return usage_error("--output raw: expected table or json; consume has raw as well");
    }
    if (ctl.wants_wait && ctl_wait_find(ctl.command) == NULL) {
        return usage_error("--wait: this command is done when it is answered");
    }
    for (size_t i = used; ctl.wants_wait && i < count; i++) {
        if (strcmp(words[i], "--dry-run") == 0) {
            return usage_error("--wait: a dry run begins nothing");
        }
    }
    arena_init(&ctl.arena, MIB(16));
    int code = CTL_USAGE;
    if (ctl_build(ctl.command, words + used, count - used, &ctl.arena, &ctl.request, &msg) != OK ||
        (ctl.command->method == NULL && ctl_records_check(ctl.command, ctl.request, format_of(&ctl), &msg) != OK)) {
        (void)fprintf(stderr, "balsactl: %s\n", msg.text);
        ctl_print_usage(ctl.command, stderr);
    } else {
        (void)trace_set_level_text("all", "error");
        code = run(&ctl);
    }
    arena_deinit(&ctl.arena);
    return code;
}
