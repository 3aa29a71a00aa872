#include "ctl/client.h"

#include <poll.h>

#include "base/clock.h"

enum {
    CROWDED_MS = 100, /* until the next try at a full queue */
    CONNECT_TIMEOUT_MS = 5000,
    SILENCE_MS = 10000, /* a master never waits for anything before it answers */
};

int client_init(struct client *c, const char *socket, struct why *why)
{
    *c = (struct client){.socket = socket, .why = why};
    if (curl_global_init(CURL_GLOBAL_NOTHING) != CURLE_OK)
        return why_fail(why, -ENOMEM, "libcurl does not start");
    c->multi = curl_multi_init();
    return c->multi ? 0 : why_fail(why, -ENOMEM, "out of memory");
}

static void drop(struct client *c)
{
    if (c->easy) {
        curl_multi_remove_handle(c->multi, c->easy);
        curl_easy_cleanup(c->easy);
        c->easy = NULL;
    }
    answer_free(&c->answer);
    c->status = 0;
    c->answer_err = 0;
}

void client_free(struct client *c)
{
    drop(c);
    curl_multi_cleanup(c->multi);
    curl_global_cleanup();
}

/* --- One request --- */

/* Headers are complete when the body begins, or ends at once. */
static void read_head(struct client *c)
{
    const char *type = NULL;

    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &c->status);
    curl_easy_getinfo(c->easy, CURLINFO_CONTENT_TYPE, &type);
    c->answer.lines = c->status == 200 && type && str_after(type, "application/x-ndjson");
}

/* Anything but `n` ends the transfer. */
static size_t take_body(char *data, size_t size, size_t n, void *user)
{
    struct client *c = user;

    if (c->status == 0)
        read_head(c);
    c->answer_err = answer_add(&c->answer, data, size * n);
    if (c->answer.lines)
        c->heard_ms = clock_ms();
    return c->answer_err == 0 ? size * n : 0;
}

static CURLcode set_options(struct client *c, bool post, const char *url)
{
    CURLcode code = curl_easy_setopt(c->easy, CURLOPT_URL, url);

#define SET(option, value)                                                                         \
    if (code == CURLE_OK)                                                                          \
    code = curl_easy_setopt(c->easy, CURLOPT_##option, value)
    SET(UNIX_SOCKET_PATH, c->socket);
    SET(PROXY, "");
    SET(NOSIGNAL, 1L);
    SET(CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(USERAGENT, "preforkctl/" PACKAGE_VERSION);
    SET(WRITEFUNCTION, take_body);
    SET(WRITEDATA, c);
    if (post) {
        SET(POSTFIELDS, "");
        SET(POSTFIELDSIZE, 0L);
    }
#undef SET
    return code;
}

int client_start(struct client *c, bool post, const char *path)
{
    CLEANUP_BUF struct buf url = BUF_INIT;

    drop(c);
    c->heard_ms = clock_ms();
    buf_printf(&url, "http://localhost%s", path);
    c->easy = curl_easy_init();
    if (url.failed || !c->easy || set_options(c, post, buf_str(&url)) != CURLE_OK ||
        curl_multi_add_handle(c->multi, c->easy) != CURLM_OK) {
        drop(c);
        return why_fail(c->why, -ENOMEM, "out of memory");
    }
    return 0;
}

/* --- Its end --- */

/* The kernel refuses with EAGAIN when the queue is full; libcurl takes that for a beginning, and
 * has no error to tell when it sees that nothing comes of it. */
static enum client_outcome unreachable(struct client *c, CURLcode code)
{
    long os_errno = 0;
    bool crowded;

    curl_easy_getinfo(c->easy, CURLINFO_OS_ERRNO, &os_errno);
    crowded = code == CURLE_COULDNT_CONNECT && os_errno == 0;
    why_fail(c->why, -ENOTCONN, "no master answers at %s: %s", c->socket,
             crowded    ? "its queue is full"
             : os_errno ? strerror((int)os_errno)
                        : curl_easy_strerror(code));
    return crowded ? CLIENT_CROWDED : CLIENT_UNREACHABLE;
}

static enum client_outcome broken(struct client *c, CURLcode code)
{
    static const struct {
        int err;
        const char *reason;
    } reasons[] = {
        {-EPROTO, "what it says is no JSON"},
        {-EMSGSIZE, "it says too much"},
        {-ENOMEM, "out of memory"},
        {-ENODATA, "the master went away"},
    };
    const char *reason =
        code == CURLE_OK || code == CURLE_WRITE_ERROR ? NULL : "the master went away";

    for (size_t i = 0; !reason && i < ARRAY_SIZE(reasons); i++)
        if (reasons[i].err == c->answer_err)
            reason = reasons[i].reason;
    why_fail(c->why, -EPROTO, "the master's answer at %s: %s", c->socket,
             reason ? reason : curl_easy_strerror(code));
    return CLIENT_BROKEN;
}

static enum client_outcome finish(struct client *c, CURLcode code)
{
    if (c->answer_err == 1)
        return CLIENT_DONE;
    if (c->status == 0)
        read_head(c);
    if (c->status == 0)
        return unreachable(c, code);
    if (code == CURLE_OK)
        c->answer_err = answer_end(&c->answer);
    return code == CURLE_OK && c->answer_err == 0 ? CLIENT_DONE : broken(c, code);
}

static enum client_outcome look(struct client *c)
{
    int running, left;
    CURLMsg *message;

    curl_multi_perform(c->multi, &running);
    message = curl_multi_info_read(c->multi, &left);
    return message && message->msg == CURLMSG_DONE ? finish(c, message->data.result) : CLIENT_BUSY;
}

enum client_outcome client_step(struct client *c, int timeout_ms, struct curl_waitfd *others,
                                unsigned nothers)
{
    enum client_outcome outcome = look(c);

    if (outcome != CLIENT_BUSY)
        return outcome;
    curl_multi_poll(c->multi, others, nothers, timeout_ms, NULL);
    return look(c);
}

/* --- Patience --- */

/* Whether the master answers another request. */
static bool somebody_is_there(const char *socket)
{
    enum client_outcome outcome = CLIENT_BUSY;
    int64_t end = clock_ms() + SILENCE_MS, now;
    struct client probe;

    if (client_init(&probe, socket, NULL) < 0)
        return false;
    if (client_start(&probe, false, "/v1/status") < 0)
        outcome = CLIENT_UNREACHABLE;
    while (outcome == CLIENT_BUSY && (now = clock_ms()) < end)
        outcome = client_step(&probe, (int)(end - now), NULL, 0);
    client_free(&probe);
    return outcome == CLIENT_DONE;
}

/* Nothing came for a while: CLIENT_BUSY when that is the way of a long operation. */
static enum client_outcome judge_silence(struct client *c)
{
    if (c->status == 0)
        read_head(c);
    if (c->answer.lines && somebody_is_there(c->socket)) {
        c->heard_ms = clock_ms();
        return CLIENT_BUSY;
    }
    why_fail(c->why, -ETIMEDOUT, "the master at %s does not answer", c->socket);
    return c->status == 0 ? CLIENT_UNREACHABLE : CLIENT_BROKEN;
}

static enum client_outcome ask_once(struct client *c, bool post, const char *path)
{
    enum client_outcome outcome = CLIENT_BUSY;

    if (client_start(c, post, path) < 0)
        return CLIENT_BROKEN;
    while (outcome == CLIENT_BUSY) {
        int64_t left = c->heard_ms + SILENCE_MS - clock_ms();

        outcome = left > 0 ? client_step(c, (int)left, NULL, 0) : judge_silence(c);
    }
    return outcome;
}

enum client_outcome client_ask(struct client *c, bool post, const char *path)
{
    int64_t end = clock_ms() + SILENCE_MS;
    enum client_outcome outcome;

    while ((outcome = ask_once(c, post, path)) == CLIENT_CROWDED && clock_ms() < end)
        poll(NULL, 0, CROWDED_MS);
    return outcome;
}
