/* What http_server.c (connections) and http_reply.c (requests, replies, streams) share. */
#ifndef PREFORKD_MECHANISM_HTTP_PARTS_H
#define PREFORKD_MECHANISM_HTTP_PARTS_H

#include <microhttpd.h>
#include <sys/queue.h>

#include "mechanism/http_server.h"

struct http_conn {
    TAILQ_ENTRY(http_conn) link;
    int fd; /* the library's; ours to shut down, never to close */
    int64_t deadline_ms;
    enum {
        HTTP_UNUSED,  /* in `unused` */
        HTTP_WAITING, /* in `waiting`: unfinished, with a deadline */
        HTTP_STREAM,  /* in `streams`: may take as long as it likes */
        HTTP_PUT_OUT, /* in no list: shut down, until the library sees it */
    } state;
    struct http_stream *stream; /* of state HTTP_STREAM */
};
TAILQ_HEAD(http_conns, http_conn);

/* The last answer of a route that is costly. */
struct http_kept {
    struct MHD_Response *response;
    int64_t until_us;
};

struct http_server {
    struct ev_loop *loop;
    struct MHD_Daemon *daemon;
    const struct http_config *config;
    void *data;
    int listen_fd;
    int reserve_fd; /* given up to accept and close a connection when descriptors have run out */
    ev_io accepting;
    ev_io working;             /* the library's epoll descriptor */
    ev_timer timer;            /* the oldest deadline, or what the library wants to go on with */
    ev_timer pause;            /* until the next accept(2) */
    struct http_conns waiting; /* oldest first */
    struct http_conns streams, unused;
    unsigned count;         /* connections that the library has open */
    unsigned nstreams;      /* streams that there are, also those that were ended */
    struct http_kept *kept; /* one for each route */
    struct http_conn pool[];
};

/* The library's callback for requests. */
enum MHD_Result http_on_request(void *data, struct MHD_Connection *connection, const char *url,
                                const char *method, const char *version, const char *upload,
                                size_t *upload_size, void **context);

/* Lets the library run in the next turn of the loop. */
void http_wake(struct http_server *s);

/* Forgets the answers that are kept: nobody asks any more. */
void http_drop_kept(struct http_server *s);

/* Ends every stream that is open, as if its client had gone. */
void http_drop_streams(struct http_server *s);

/* Gives a connection the deadline of the server, from now on. */
void http_conn_wait(struct http_server *s, struct http_conn *c);

/* Takes it out of its list. The library reads the end of the stream at its next run and closes. */
void http_conn_put_out(struct http_server *s, struct http_conn *c);

#endif
