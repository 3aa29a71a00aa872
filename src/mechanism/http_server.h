/* A small HTTP/1.1 server inside the libev loop, by libmicrohttpd. Bounded in connections, time and
 * size; a slow client costs a slot of a fixed pool and is put out when others need it. */
#ifndef PREFORKD_MECHANISM_HTTP_SERVER_H
#define PREFORKD_MECHANISM_HTTP_SERVER_H

#include <ev.h>

#include "base/buf.h"

/* Valid during the call of the handler. */
struct http_request {
    const char *method; /* GET or HEAD; the server has answered anything else with 405 */
    const char *path;   /* as sent, without the query; not decoded */
    bool verbose;       /* the query has the key "verbose" */
};

struct http_reply {
    unsigned status;
    const char *content_type; /* static; NULL: text/plain; charset=utf-8 */
    struct buf body;
};

/* Fills `reply` in, whose status is 200 beforehand and whose body the server frees. Must not close
 * the server. */
typedef void (*http_handler)(void *data, const struct http_request *request,
                             struct http_reply *reply);

struct http_limits {
    unsigned connections; /* when full, the oldest unfinished one is put out for a new one */
    int64_t deadline_ms;  /* for a whole connection, from accept to the last byte */
    size_t memory;        /* for one connection's request line, headers and those of the reply */
};

struct http_server;

/* Serves the listening socket, which must be non-blocking and is the server's from now on, also on
 * failure. Every connection is closed after one answer. What is no request is answered by the
 * library with 400, 413, 414, 431 or 505, or ends at the deadline. Returns -ENOMEM, or -EIO when
 * the library does not start. */
int http_server_open(struct ev_loop *loop, int listen_fd, const struct http_limits *limits,
                     http_handler handler, void *data, struct http_server **out);

/* Closes the listening socket and every connection. */
void http_server_close(struct http_server *s);

/* Connections that are open now. No timer runs when there are none. */
unsigned http_server_connections(const struct http_server *s);

#endif
