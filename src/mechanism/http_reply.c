/* Requests find their route, replies their way out. */
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "mechanism/http_parts.h"

enum { COSTLY_FACTOR = 20 };

struct http_stream {
    struct http_server *server;
    struct http_conn *conn;
    struct MHD_Connection *connection;
    struct buf pending;
    size_t sent; /* of `pending` */
    bool ended, broken;
    bool suspended; /* the library waits until there is something to send */
    ev_io client;   /* meanwhile we look whether the client goes */
    void (*gone)(void *data);
    void *data;
};

/* --- Arguments --- */

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *found = c ? strchr(digits, c | 0x20) : NULL;

    return found && (c >= 'A' || c <= '9') ? (int)(found - digits) : -1;
}

/* The library has made blanks of plus signs. */
static int decode(const char *text, char *out, size_t size)
{
    size_t n = 0;

    for (; *text; text++, n++) {
        int high, low;

        if (n + 1 >= size)
            return -EINVAL;
        out[n] = *text;
        if (*text != '%')
            continue;
        high = hex_digit(text[1]);
        low = high < 0 ? -1 : hex_digit(text[2]);
        if (low < 0 || high + low == 0)
            return -EINVAL;
        out[n] = (char)(high << 4 | low);
        text += 2;
    }
    out[n] = '\0';
    return 1;
}

int http_argument(const struct http_request *request, const char *key, char *value, size_t size)
{
    const char *text = NULL;

    if (MHD_lookup_connection_value_n(request->connection, MHD_GET_ARGUMENT_KIND, key, strlen(key),
                                      &text, NULL) != MHD_YES)
        return 0;
    return decode(text ? text : "", value, size);
}

/* --- Replies --- */

static void add_headers(struct MHD_Response *response, const struct http_reply *reply)
{
    const char *type = reply->content_type ? reply->content_type : "text/plain; charset=utf-8";

    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "Connection", "close");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (reply->policy)
        MHD_add_response_header(response, "Content-Security-Policy", reply->policy);
}

/* Takes the body. NULL: out of memory. */
static struct MHD_Response *make_response(struct http_reply *reply)
{
    size_t len = reply->body.len;
    struct MHD_Response *response;
    char *body;

    if (len == 0)
        buf_puts(&reply->body, "");
    body = buf_take(&reply->body);
    if (!body)
        return NULL;
    response = MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE);
    if (response)
        add_headers(response, reply);
    else
        free(body);
    return response;
}

/* Takes the response. */
static enum MHD_Result send_response(struct MHD_Connection *connection, unsigned status,
                                     struct MHD_Response *response)
{
    enum MHD_Result result = MHD_NO;

    if (response) {
        result = MHD_queue_response(connection, status, response);
        MHD_destroy_response(response);
    }
    return result;
}

static enum MHD_Result send_error(struct http_server *s, struct MHD_Connection *connection,
                                  unsigned status, const char *error, const char *allow)
{
    struct http_reply reply = {.status = status};
    struct MHD_Response *response;

    s->config->tell(&reply, error);
    response = make_response(&reply);
    if (response && allow)
        MHD_add_response_header(response, "Allow", allow);
    return send_response(connection, status, response);
}

/* --- Streams --- */

static void on_client(struct ev_loop *loop, ev_io *w, int events);
static ssize_t read_stream(void *data, uint64_t pos, char *out, size_t max);
static void free_stream(void *data);

static void resume(struct http_stream *stream)
{
    if (!stream->suspended)
        return;
    stream->suspended = false;
    ev_io_stop(stream->server->loop, &stream->client);
    MHD_resume_connection(stream->connection);
    http_wake(stream->server); /* without threads the library does not wake itself */
}

static void suspend(struct http_stream *stream)
{
    stream->suspended = true;
    MHD_suspend_connection(stream->connection);
    ev_io_start(stream->server->loop, &stream->client);
}

static void break_stream(struct http_stream *stream)
{
    stream->broken = true;
    if (stream->conn->state == HTTP_STREAM)
        http_conn_put_out(stream->server, stream->conn);
    resume(stream);
}

/* One that says more than its request, or has shut its side only, may still want to read. */
static void on_client(struct ev_loop *loop, ev_io *w, int events UNUSED)
{
    struct http_stream *stream = w->data;
    struct pollfd pfd = {.fd = w->fd};

    if (poll(&pfd, 1, 0) > 0)
        break_stream(stream);
    else
        ev_io_stop(loop, w);
}

static ssize_t read_stream(void *data, uint64_t pos UNUSED, char *out, size_t max)
{
    struct http_stream *stream = data;
    size_t left = stream->pending.len - stream->sent;
    size_t len = left < max ? left : max;

    if (stream->broken)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (len > 0) {
        memcpy(out, stream->pending.data + stream->sent, len);
        stream->sent += len;
        return (ssize_t)len;
    }
    if (stream->ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    suspend(stream);
    return 0;
}

static void free_stream(void *data)
{
    struct http_stream *stream = data;

    stream->server->nstreams--;
    stream->conn->stream = NULL;
    if (!stream->ended)
        stream->gone(stream->data);
    buf_free(&stream->pending);
    free(stream);
}

int http_stream_open(const struct http_request *request, struct http_reply *reply,
                     void (*gone)(void *data), void *data)
{
    struct http_conn *conn =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)
            ->socket_context;
    struct http_server *s = request->server;
    struct http_stream *stream;

    if (s->nstreams >= s->config->streams)
        return -EBUSY;
    stream = calloc(1, sizeof(*stream));
    if (!stream)
        return -ENOMEM;
    *stream = (struct http_stream){
        .server = s, .conn = conn, .connection = request->connection, .gone = gone, .data = data};
    ev_io_init(&stream->client, on_client, conn->fd, EV_READ);
    stream->client.data = stream;
    reply->stream = stream;
    s->nstreams++;
    return 0;
}

void http_stream_push(struct http_stream *stream, const char *data, size_t len)
{
    struct buf *pending = &stream->pending;

    if (stream->sent > 0) {
        pending->len -= stream->sent;
        memmove(pending->data, pending->data + stream->sent, pending->len);
        stream->sent = 0;
    }
    if (!stream->broken && pending->len + len <= stream->server->config->stream_buffer)
        buf_append(pending, data, len);
    else
        break_stream(stream);
    resume(stream);
}

void http_stream_end(struct http_stream *stream)
{
    stream->ended = true;
    if (stream->conn->state == HTTP_STREAM) {
        TAILQ_REMOVE(&stream->server->streams, stream->conn, link);
        http_conn_wait(stream->server, stream->conn);
    }
    resume(stream);
}

void http_drop_streams(struct http_server *s)
{
    struct http_conn *c;

    while ((c = TAILQ_FIRST(&s->streams)))
        break_stream(c->stream);
}

static enum MHD_Result send_stream(struct http_server *s, struct MHD_Connection *connection,
                                   struct http_reply *reply)
{
    struct http_stream *stream = reply->stream;
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, read_stream, stream, free_stream);

    buf_free(&reply->body);
    if (!response) {
        free_stream(stream);
        return MHD_NO;
    }
    add_headers(response, reply);
    if (!stream->ended) {
        TAILQ_REMOVE(&s->waiting, stream->conn, link);
        stream->conn->state = HTTP_STREAM;
        stream->conn->stream = stream;
        TAILQ_INSERT_TAIL(&s->streams, stream->conn, link);
    }
    return send_response(connection, reply->status, response);
}

/* --- Requests --- */

static bool is_allowed(const char *allow, const char *method)
{
    size_t len = strlen(method), n;

    for (;; allow += n + strspn(allow + n, ", ")) {
        n = strcspn(allow, ",");
        if (n == len && memcmp(allow, method, n) == 0)
            return true;
        if (allow[n] == '\0')
            return false;
    }
}

static const struct http_route *find_route(const struct http_server *s, const char *path)
{
    for (size_t i = 0; i < s->config->nroutes; i++)
        if (streq(s->config->routes[i].path, path))
            return &s->config->routes[i];
    return NULL;
}

void http_drop_kept(struct http_server *s)
{
    for (size_t i = 0; i < s->config->nroutes; i++) {
        if (s->kept[i].response)
            MHD_destroy_response(s->kept[i].response);
        s->kept[i].response = NULL;
    }
}

static int fd_of(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

/* Made anew, for as long as its making is worth. */
static enum MHD_Result answer_costly(struct http_server *s, const struct http_request *request)
{
    struct http_kept *kept = &s->kept[request->route - s->config->routes];
    struct http_reply reply = {.status = MHD_HTTP_OK};
    int64_t began_us = clock_us(), now_us;

    if (kept->response && began_us >= kept->until_us) {
        MHD_destroy_response(kept->response);
        kept->response = NULL;
    }
    if (!kept->response) {
        request->route->answer(s->data, request, &reply);
        kept->response = make_response(&reply);
        now_us = clock_us();
        kept->until_us = now_us + COSTLY_FACTOR * (now_us - began_us);
    }
    return kept->response ? MHD_queue_response(request->connection, reply.status, kept->response)
                          : MHD_NO;
}

static enum MHD_Result answer(struct http_server *s, const struct http_request *request)
{
    struct http_reply reply = {.status = MHD_HTTP_OK};

    if (request->route->costly)
        return answer_costly(s, request);
    request->route->answer(s->data, request, &reply);
    if (reply.stream)
        return send_stream(s, request->connection, &reply);
    return send_response(request->connection, reply.status, make_response(&reply));
}

/* Called first when the headers are complete. Answering then and there makes the library drop a
 * body, whatever its coding, and say nothing to "Expect: 100-continue". */
enum MHD_Result http_on_request(void *data, struct MHD_Connection *connection, const char *url,
                                const char *method, const char *version UNUSED,
                                const char *upload UNUSED, size_t *upload_size UNUSED,
                                void **context UNUSED)
{
    struct http_server *s = data;
    const struct http_route *route = find_route(s, url);

    if (!route)
        return send_error(s, connection, MHD_HTTP_NOT_FOUND, "not found", NULL);
    if (!is_allowed(route->allow, method))
        return send_error(s, connection, MHD_HTTP_METHOD_NOT_ALLOWED, "method not allowed",
                          route->allow);
    return answer(s, &(struct http_request){.method = method,
                                            .route = route,
                                            .fd = fd_of(connection),
                                            .server = s,
                                            .connection = connection});
}
