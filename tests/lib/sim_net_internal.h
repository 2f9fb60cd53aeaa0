/* What sim_net.c (listeners, connects, cuts) and sim_stream.c (streams, packets) share. */
#pragma once

#include "tests/lib/sim_internal.h"
#include "tests/lib/sim_net.h"

enum packet_kind { PACKET_DATA, PACKET_FIN, PACKET_RST };

struct packet {
    struct sim_event event;
    struct sim_world *world;
    enum packet_kind kind;
    struct stream *source; /* NULL: gone */
    struct stream *target; /* NULL: gone */
    char from[SIM_NAME_SIZE];
    char to[SIM_NAME_SIZE];
    bool is_held; /* its way was cut when it arrived */
    size_t size;
    struct list link; /* of the world's packets */
    uint8_t data[];
};

struct stream {
    struct sim_env *env;
    struct stream *other; /* NULL: reset, or never there */
    const struct stream_handlers *handlers;
    void *owner;
    stream_close_cb close_cb;
    int token; /* accepted, not adopted yet; else 0 */
    bool is_reading;
    bool has_ended; /* on_read was told */
    bool is_closing;
    bool is_delayed; /* scratch of packets_release() */
    enum err end;    /* what on_read will be told behind the bytes that arrived; OK: nothing */
    enum err broken; /* writes fail with it; OK: they do not */
    uint8_t *arrived;
    size_t arrived_size;
    size_t arrived_capacity;
    size_t window;         /* bytes under way or not read yet, at most */
    size_t unread;         /* of what this end has sent */
    size_t first_done;     /* bytes copied of the first of `writes` */
    int64_t last_us;       /* when the last packet that this end sent arrives */
    struct list writes;    /* struct stream_write, not copied yet */
    struct list completed; /* struct stream_write */
    struct sim_event bell;
    char *there; /* name of the other process */
    char local_text[NET_ADDRESS_TEXT_SIZE];
    char peer_text[NET_ADDRESS_TEXT_SIZE];
    uint16_t local_port;
    uint16_t peer_port;
    struct list link; /* of the env's streams */
};

struct cut {
    char *from;
    char *to;
    struct list link;
};

int64_t sim_net_delay(struct sim_world *world);
bool sim_net_is_cut(const struct sim_world *world, const char *from, const char *to);
void sim_net_print_address(const struct sim_process *process, char text[NET_ADDRESS_TEXT_SIZE]);

void sim_packet_free(struct packet *packet);
/* After a cut was healed. What was held goes on: sent again some time later, and with it all that is on its way
 * behind it. */
void sim_packets_release(struct sim_world *world);

struct stream *sim_stream_new(struct sim_env *env, const struct sim_process *there);
void sim_stream_on_bell(struct sim_event *event);
/* A reset to `target`, from nobody: the host there knows of no such connection. */
void sim_stream_reset(struct stream *target, int64_t delay_us);
/* Frees it without a word to its owner: it has none, or it is dead. */
void sim_stream_abandon(struct stream *stream, bool is_silent);
void sim_stream_fill(struct net *net); /* sets the stream_* functions */
