#include "interface/health.h"

#include <fcntl.h>

#include "base/sys.h"
#include "interface/metrics.h"
#include "interface/page.h"
#include "interface/status_json.h"
#include "mechanism/http_server.h"
#include "mechanism/listener.h"

#define AUTO_ADDRESS            "127.0.0.1:8900"
#define AUTO_ADDRESS_KUBERNETES "*:8900" /* the kubelet probes the pod's address */

struct health {
    struct listener *listener;
    struct http_server *server;
    const struct status *status;
};

struct check {
    const char *path;
    /* appends the reason when it fails; the answer 200 is "ok" */
    bool (*passes)(const struct status *s, struct buf *reason);
};

static bool has_started(const struct status *s, struct buf *reason)
{
    if (!s->cluster->started)
        buf_puts(reason, "starting");
    return s->cluster->started;
}

static const struct check checks[] = {
    {"/healthz/liveness", status_is_alive}, /* answered from the loop that supervises */
    {"/healthz/readiness", status_is_ready},
    {"/healthz/startup", has_started},
};

/* One line a pool in the style of kube-apiserver's ?verbose. */
static void add_pools(const struct status *s, struct buf *out)
{
    for (size_t i = 0; i < s->cluster->npools; i++) {
        const struct pool *p = s->cluster->pools[i];
        int ready = pool_ready(p), min_ready = pool_min_ready(p);

        buf_printf(out, "[%c]%s %s: %d/%d ready, at least %d needed\n",
                   ready < min_ready ? '-' : '+', pool_name(p), ready < min_ready ? "failed" : "ok",
                   ready, p->wanted, min_ready);
    }
}

static const struct check *find_check(const char *path)
{
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
        if (streq(path, checks[i].path))
            return &checks[i];
    return NULL;
}

static void answer_check(void *data, const struct http_request *request, struct http_reply *reply)
{
    const struct health *h = data;
    const struct check *check = find_check(request->route->path);
    CLEANUP_BUF struct buf reason = BUF_INIT;
    bool ok = check->passes(h->status, &reason);
    char value[1];
    bool verbose = http_argument(request, "verbose", value, sizeof(value)) != 0;

    reply->status = ok ? 200 : 503;
    if (verbose) {
        add_pools(h->status, &reply->body);
        buf_printf(&reply->body, "%s check ", strrchr(check->path, '/') + 1);
    }
    if (ok)
        buf_puts(&reply->body, verbose ? "passed\n" : "ok\n");
    else
        buf_printf(&reply->body, "%s%s\n", verbose ? "failed: " : "", buf_str(&reason));
}

static void answer_metrics(void *data, const struct http_request *request UNUSED,
                           struct http_reply *reply)
{
    const struct health *h = data;

    reply->content_type = METRICS_CONTENT_TYPE;
    metrics_print(h->status, &reply->body);
}

static void answer_status(void *data, const struct http_request *request UNUSED,
                          struct http_reply *reply)
{
    const struct health *h = data;

    reply->content_type = "application/json";
    status_json(h->status, STATUS_STRANGERS, &reply->body);
}

static void answer_page(void *data UNUSED, const struct http_request *request UNUSED,
                        struct http_reply *reply)
{
    reply->content_type = "text/html; charset=utf-8";
    reply->policy = page_policy;
    buf_append(&reply->body, page_html, page_html_len);
}

static void tell(struct http_reply *reply, const char *error)
{
    buf_printf(&reply->body, "%s\n", error);
}

static const struct http_route routes[] = {
    {"/healthz/liveness", "GET, HEAD", answer_check, false},
    {"/healthz/readiness", "GET, HEAD", answer_check, false},
    {"/healthz/startup", "GET, HEAD", answer_check, false},
    {"/", "GET, HEAD", answer_page, true},
    {"/metrics", "GET, HEAD", answer_metrics, true},
    {"/status", "GET, HEAD", answer_status, true},
};

/* A probe's connection lives for milliseconds. */
static const struct http_config config = {
    .connections = 64,
    .deadline_ms = 2000,
    .memory = 8192,
    .routes = routes,
    .nroutes = ARRAY_SIZE(routes),
    .tell = tell,
};

static int open_server(struct health *h, struct ev_loop *loop)
{
    int fd = fcntl(listener_fd(h->listener, 0), F_DUPFD_CLOEXEC, 3);
    int r = fd < 0 ? -errno : sys_set_nonblock(fd, true);

    if (r < 0) {
        util_close_p(&fd);
        return r;
    }
    return http_server_open(loop, fd, &config, h, &h->server);
}

static int listen_on(const struct sockspec *spec, int take_fd, struct listener **out,
                     struct why *why)
{
    const struct listener_options options = {.backlog = 1024, .shared = true};

    if (take_fd < 0)
        return listener_open(spec, 1, &options, out, why);
    return listener_reopen(spec, 1, &options, &(struct listener_socket){0, take_fd}, 1, out, why);
}

int health_open(struct ev_loop *loop, const char *setting, int take_fd, const struct status *status,
                struct health **out, struct why *why)
{
    struct sockspec spec;
    struct health *h;
    int r;

    *out = NULL;
    if (streq(setting, "off"))
        return 0;
    if (streq(setting, "auto"))
        setting = getenv("KUBERNETES_SERVICE_HOST") ? AUTO_ADDRESS_KUBERNETES : AUTO_ADDRESS;
    h = calloc(1, sizeof(*h));
    if (!h)
        return why_fail_errno(why, -ENOMEM, "health");
    h->status = status;
    r = sockspec_parse(setting, &spec, why);
    if (r == 0)
        r = listen_on(&spec, take_fd, &h->listener, why);
    if (r == 0) {
        r = open_server(h, loop);
        if (r < 0)
            why_fail_errno(why, r, "HTTP server");
    }
    if (r < 0) {
        why_prefix(why, r, "health '%s'", setting);
        health_close(h);
        return r;
    }
    *out = h;
    return 0;
}

void health_close(struct health *h)
{
    if (!h)
        return;
    if (h->server)
        http_server_close(h->server);
    if (h->listener)
        listener_unref(h->listener);
    free(h);
}

int health_fd(const struct health *h)
{
    return h ? listener_fd(h->listener, 0) : -1;
}

const char *health_address(const struct health *h)
{
    return listener_address(h->listener);
}
