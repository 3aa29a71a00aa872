/* A small HTTP/1.1 server inside the libev loop, by libmicrohttpd. Bounded in connections, time and
 * size; a slow client costs a slot of a fixed pool and is put out when others need it. */
#ifndef PREFORKD_MECHANISM_HTTP_SERVER_H
#define PREFORKD_MECHANISM_HTTP_SERVER_H

#include <ev.h>

#include "base/buf.h"

struct http_server;
struct http_stream;

/* Valid during the call of the route's function. */
struct http_request {
    const char *method; /* one of the route's */
    const struct http_route *route;
    int fd;                     /* the connection's, to ask who it is */
    struct http_server *server; /* private, as the next one */
    void *connection;
};

struct http_reply {
    unsigned status;            /* 200 beforehand */
    const char *content_type;   /* static; NULL: text/plain; charset=utf-8 */
    const char *policy;         /* static; Content-Security-Policy, NULL: none */
    struct buf body;            /* freed by the server */
    struct http_stream *stream; /* http_stream_open() has set it: the body comes later */
};

struct http_route {
    const char *path;  /* compared with what was sent, without the query and not decoded */
    const char *allow; /* its methods, as the Allow header writes them: "GET, HEAD" */
    /* Fills `reply` in. Must not close the server. */
    void (*answer)(void *data, const struct http_request *request, struct http_reply *reply);
    /* Its answer is 200, depends on nothing in the request, and is given again for twenty times as
     * long as making it took: whatever clients do, that costs a twentieth of the time at most. */
    bool costly;
};

struct http_config {
    unsigned connections; /* when full, the oldest unfinished one is put out for a new one */
    unsigned streams;     /* of these, replies whose body comes later; 0: there are none */
    size_t stream_buffer; /* what a stream's reader may leave unread; then it is put out */
    int64_t deadline_ms;  /* for a whole connection, from accept to the last byte */
    size_t memory;        /* for one connection's request line, headers and those of the reply */
    const struct http_route *routes;
    size_t nroutes;
    /* Writes the body that tells of an error: 404, 405 */
    void (*tell)(struct http_reply *reply, const char *error);
    /* Whether to serve who has connected `fd`. NULL: everyone; else the others get `refusal`, a
     * whole reply, and are closed at once. */
    bool (*admits)(void *data, int fd);
    const char *refusal;
};

/* Serves the listening socket, which must be non-blocking and is the server's from now on, also on
 * failure. `config` must outlive the server. Every connection is closed after one answer. What is
 * no request is answered by the library with 400, 413, 414, 431 or 505, or ends at the deadline.
 * Returns -ENOMEM, or -EIO when the library does not start. */
int http_server_open(struct ev_loop *loop, int listen_fd, const struct http_config *config,
                     void *data, struct http_server **out);

/* Closes the listening socket and every connection. */
void http_server_close(struct http_server *s);

/* Hands on what there is to send, as far as it goes without waiting: before the loop ends. */
void http_server_flush(struct http_server *s);

/* Connections that are open now. No timer runs when there are none, or only streams. */
unsigned http_server_connections(const struct http_server *s);

/* The value of a key of the query, decoded. 1; 0 when it was not given; -EINVAL when it does not
 * fit, or is no text in percent coding. */
int http_argument(const struct http_request *request, const char *key, char *value, size_t size);

/* Makes the body of `reply` one that comes later, piece by piece. `gone` is called from the loop,
 * once, when the client went or was put out before the end; the stream is no more then.
 * -EBUSY: there are as many streams as may be; -ENOMEM. */
int http_stream_open(const struct http_request *request, struct http_reply *reply,
                     void (*gone)(void *data), void *data);

/* Never fails and never waits: a reader that leaves too much unread is put out. */
void http_stream_push(struct http_stream *stream, const char *data, size_t len);

/* That was all: what is left is still sent, until the deadline. The stream is no more. */
void http_stream_end(struct http_stream *stream);

#endif
