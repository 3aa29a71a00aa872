#include "interface/control.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/sys.h"
#include "interface/control_path.h"
#include "interface/json_text.h"
#include "interface/scale.h"
#include "interface/status_json.h"
#include "mechanism/listener.h"

#define JSON_TYPE   "application/json"
#define NDJSON_TYPE "application/x-ndjson"

enum { PARENTS_MAX = 64, ARGUMENT_MAX = 128 };

struct control {
    const struct status *status;
    const struct control_ops *ops;
    void *data;
    struct listener *listener;
    struct http_server *server;
    struct progress progress;
};

/* Replies ------------------------------------------------------------------------------------- */

static void tell(struct http_reply *reply, const char *error)
{
    json_t *json = json_pack("{so}", "error", json_text(error));
    CLEANUP_FREE char *text = json_dumps(json, JSON_COMPACT);

    json_decref(json);
    reply->content_type = JSON_TYPE;
    buf_printf(&reply->body, "%s\n", text ? text : "{}");
}

static void fail(struct http_reply *reply, unsigned status, const char *error)
{
    reply->status = status;
    tell(reply, error);
}

/* What an -errno of ours means to a client. */
static unsigned status_of(int err)
{
    return err == -EBUSY ? 409 : err == -EINVAL || err == -ERANGE ? 400 : 500;
}

static void answer_status(void *data, const struct http_request *request UNUSED,
                          struct http_reply *reply)
{
    const struct control *c = data;

    reply->content_type = JSON_TYPE;
    status_json(c->status, STATUS_OWNER, &reply->body);
}

/* Arguments ----------------------------------------------------------------------------------- */

/* Whether the argument is there; a reply is made when it has to be and is not, or is no text. */
static bool get(const struct http_request *request, struct http_reply *reply, const char *key,
                char value[ARGUMENT_MAX])
{
    int r = http_argument(request, key, value, ARGUMENT_MAX);
    struct why why;

    if (r > 0)
        return true;
    why_fail(&why, r, r < 0 ? "argument '%s' is no text" : "argument '%s' is missing", key);
    fail(reply, 400, why.text);
    return false;
}

/* The pool that is meant. NULL, and a reply, when there is none. */
static struct pool *get_pool(const struct control *c, const struct http_request *request,
                             struct http_reply *reply)
{
    char name[ARGUMENT_MAX];
    struct why why;
    struct pool *p;

    if (!get(request, reply, "pool", name))
        return NULL;
    p = cluster_pool(c->status->cluster, name);
    if (p && !p->stopping)
        return p;
    why_fail(&why, 0, "there is no pool '%s'", name);
    fail(reply, 404, why.text);
    return NULL;
}

static bool wants_to_wait(const struct http_request *request)
{
    char value[ARGUMENT_MAX];

    return http_argument(request, "wait", value, sizeof(value)) <= 0 || !streq(value, "0");
}

/* Who asks goes to the log. */
static void log_request(const struct http_request *request)
{
    struct ucred peer = {0};
    socklen_t len = sizeof(peer);

    getsockopt(request->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
    log_info(LOG_NOBODY, "control: %s, asked for by pid %d of user %u",
             strrchr(request->route->path, '/') + 1, (int)peer.pid, (unsigned)peer.uid);
}

/* Operations ---------------------------------------------------------------------------------- */

/* A client that waits gets a stream. NULL otherwise; `go` tells whether the operation is to be
 * carried out. */
static struct progress_client *begin(struct control *c, enum progress_kind kind, uint64_t number,
                                     const struct http_request *request, struct http_reply *reply,
                                     bool *go)
{
    struct progress_client *client = NULL;

    *go = true;
    if (wants_to_wait(request)) {
        reply->content_type = NDJSON_TYPE;
        client = progress_wait(&c->progress, kind, number, request, reply);
        *go = client;
    } else {
        reply->status = 202;
        reply->content_type = JSON_TYPE;
        buf_puts(&reply->body, "{\"result\":\"started\"}\n");
    }
    if (*go)
        log_request(request);
    else
        reply->content_type = JSON_TYPE;
    return client;
}

/* Reloads are told apart by how many have ended. */
static uint64_t reloads_ended(const struct control *c)
{
    return c->status->reload->total[0] + c->status->reload->total[1];
}

static uint64_t next_reload(const struct control *c)
{
    return reloads_ended(c) + (reload_is_running(c->status->reload) ? 2 : 1);
}

static void answer_reload(void *data, const struct http_request *request, struct http_reply *reply)
{
    struct control *c = data;
    bool go;

    if (c->status->phase != PHASE_SERVING) {
        fail(reply, 409, "the master is stopping");
        return;
    }
    begin(c, PROGRESS_RELOAD, next_reload(c), request, reply, &go);
    if (go)
        c->ops->reload(c->data);
}

static void scale(struct pool *p, int n, struct progress_client *client)
{
    int before = p->wanted;
    struct why why;
    int r = scale_pool(p, n, &why);

    if (!client)
        return;
    if (r < 0) {
        progress_fail(client, why.text);
        return;
    }
    if (n > before)
        progress_want(client, p, before, n, true);
    else
        progress_want(client, p, n, before, false);
}

static void answer_scale(void *data, const struct http_request *request, struct http_reply *reply)
{
    struct control *c = data;
    struct pool *p = get_pool(c, request, reply);
    struct progress_client *client;
    char text[ARGUMENT_MAX];
    struct why why;
    int n, r;
    bool go;

    if (!p || !get(request, reply, "workers", text))
        return;
    r = scale_parse(text, p->wanted, &n, &why);
    if (r == 0)
        r = scale_check(c->status, p, n, &why);
    if (r < 0) {
        fail(reply, status_of(r), why.text);
        return;
    }
    client = begin(c, PROGRESS_SLOTS, 0, request, reply, &go);
    if (go)
        scale(p, n, client);
    progress_look(&c->progress);
}

/* The slot that is meant, -1 for all; -EINVAL and a reply when there is no such slot. */
static int get_slot(const struct pool *p, const struct http_request *request,
                    struct http_reply *reply)
{
    char text[ARGUMENT_MAX], *end;
    struct why why;
    long slot;

    if (http_argument(request, "slot", text, sizeof(text)) == 0)
        return -1;
    if (!get(request, reply, "slot", text))
        return -EINVAL;
    slot = strtol(text, &end, 10);
    if (end != text && !*end && slot >= 0 && slot < p->wanted)
        return (int)slot;
    why_fail(&why, 0, "pool %s has no slot '%s'", pool_name(p), text);
    fail(reply, 404, why.text);
    return -EINVAL;
}

static void answer_restart(void *data, const struct http_request *request, struct http_reply *reply)
{
    struct control *c = data;
    struct pool *p = get_pool(c, request, reply);
    struct progress_client *client;
    struct why why;
    int slot, r;
    bool go;

    slot = p ? get_slot(p, request, reply) : -EINVAL;
    if (slot == -EINVAL)
        return;
    r = status_check_idle(c->status, &why);
    if (r < 0) {
        fail(reply, status_of(r), why.text);
        return;
    }
    client = begin(c, PROGRESS_RESTART, 0, request, reply, &go);
    r = go ? c->ops->restart(c->data, p, slot) : 0;
    if (r < 0 && client)
        progress_fail(client, strerror(-r));
}

static void answer_upgrade(void *data, const struct http_request *request, struct http_reply *reply)
{
    struct control *c = data;
    struct progress_client *client;
    struct why why;
    bool go;
    int r = status_check_idle(c->status, &why);

    if (r < 0) {
        fail(reply, status_of(r), why.text);
        return;
    }
    client = begin(c, PROGRESS_UPGRADE, 0, request, reply, &go);
    r = go ? c->ops->upgrade(c->data, &why) : 0;
    /* one that had begun has told its failure itself */
    if (r < 0 && client && progress_waits(&c->progress, client))
        progress_fail(client, why.text);
}

static void answer_stop(void *data, const struct http_request *request, struct http_reply *reply)
{
    struct control *c = data;
    const struct cluster *cluster = c->status->cluster;
    struct progress_client *client;
    bool go;

    client = begin(c, PROGRESS_SLOTS, 0, request, reply, &go);
    for (size_t i = 0; client && i < cluster->npools; i++)
        progress_want(client, cluster->pools[i], 0, cluster->pools[i]->nslots, false);
    if (go && c->status->phase == PHASE_SERVING)
        c->ops->stop(c->data);
}

/* Who may ------------------------------------------------------------------------------------- */

static bool is_worker(const struct cluster *cluster, pid_t pid, pid_t session)
{
    for (size_t i = 0; i < cluster->npools; i++)
        if (pool_has_process(cluster->pools[i], pid) ||
            pool_has_process(cluster->pools[i], session))
            return true;
    return false;
}

/* Whether a worker started it, as far as that can be seen: it is one, descends from one or is of
 * its session. A guard against accidents and simple attacks: a process of the master's own user may
 * do worse than ask. */
static bool is_of_worker(const struct cluster *cluster, pid_t pid)
{
    struct sys_proc proc;

    for (int i = 0; i < PARENTS_MAX && pid > 1 && sys_proc_stat(pid, &proc) == 0; i++) {
        if (is_worker(cluster, pid, proc.session))
            return true;
        pid = proc.ppid;
    }
    return false;
}

static bool admits(void *data, int fd)
{
    const struct control *c = data;
    struct ucred peer;
    socklen_t len = sizeof(peer);
    struct log_who who = {.slot = -1};

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return false;
    who.pid = peer.pid;
    if (peer.uid != 0 && peer.uid != geteuid())
        log_warn(&who, "control: refused: it runs as user %u", (unsigned)peer.uid);
    else if (is_of_worker(c->status->cluster, peer.pid))
        log_warn(&who, "control: refused: it belongs to a worker");
    else
        return true;
    return false;
}

static const char refusal[] = "HTTP/1.1 403 Forbidden\r\n"
                              "Content-Type: " JSON_TYPE "\r\n"
                              "Connection: close\r\n"
                              "Content-Length: 23\r\n"
                              "\r\n"
                              "{\"error\":\"not allowed\"}";

/* The socket ---------------------------------------------------------------------------------- */

static const struct http_route routes[] = {
    {"/v1/status", "GET, HEAD", answer_status, false},
    {"/v1/reload", "POST", answer_reload, false},
    {"/v1/scale", "POST", answer_scale, false},
    {"/v1/restart", "POST", answer_restart, false},
    {"/v1/upgrade", "POST", answer_upgrade, false},
    {"/v1/stop", "POST", answer_stop, false},
};

/* A stream's buffer takes the progress of a thousand slots. */
static const struct http_config config = {
    .connections = 32,
    .streams = 16,
    .stream_buffer = 256 * 1024,
    .deadline_ms = 5000,
    .memory = 8192,
    .routes = routes,
    .nroutes = ARRAY_SIZE(routes),
    .tell = tell,
    .admits = admits,
    .refusal = refusal,
};

static int listen_at(const char *path, int *take_fd, struct listener **out, struct why *why)
{
    const struct listener_options options = {.backlog = 128, .shared = true};
    struct sockspec spec;
    int r = control_path_spec(path, &spec, why);

    if (r < 0)
        return r;
    if (*take_fd < 0)
        return listener_open(&spec, 1, &options, out, why);
    return listener_reopen(&spec, 1, &options, &(struct listener_socket){0, util_take_fd(take_fd)},
                           1, out, why);
}

static int open_at(struct control *c, struct ev_loop *loop, const char *path, int *take_fd,
                   struct why *why)
{
    int fd, r = listen_at(path, take_fd, &c->listener, why);

    if (r < 0)
        return r;
    fd = fcntl(listener_fd(c->listener, 0), F_DUPFD_CLOEXEC, 3);
    r = fd < 0 ? -errno : sys_set_nonblock(fd, true);
    if (r == 0)
        r = http_server_open(loop, util_take_fd(&fd), &config, c, &c->server);
    util_close_p(&fd);
    return r < 0 ? why_fail_errno(why, r, "HTTP server") : 0;
}

static int open_auto(struct control *c, struct ev_loop *loop, int *take_fd, struct why *why)
{
    CLEANUP_BUF struct buf path = BUF_INIT;
    int r = control_path_auto(&path, why);

    if (r == 0)
        r = open_at(c, loop, buf_str(&path), take_fd, why);
    if (r < 0)
        log_info(LOG_NOBODY, "no control socket: %s%s%s", path.len > 0 ? buf_str(&path) : "",
                 path.len > 0 ? ": " : "", why->text);
    return r;
}

int control_open(struct ev_loop *loop, const char *setting, const json_t *saved,
                 const struct status *status, const struct control_ops *ops, void *data,
                 struct control **out, struct why *why)
{
    CLEANUP_CLOSE int fd = saved ? handover_take_fd(saved, "control_fd") : -1;
    bool is_auto = streq(setting, "auto");
    struct control *c;
    int r;

    *out = NULL;
    if (saved)
        progress_resume(json_object_get(saved, "control_clients"));
    if (streq(setting, "off"))
        return 0;
    c = calloc(1, sizeof(*c));
    if (!c)
        return why_fail_errno(why, -ENOMEM, "control");
    *c = (struct control){.status = status, .ops = ops, .data = data};
    progress_init(&c->progress, status->cluster);
    r = is_auto ? open_auto(c, loop, &fd, why) : open_at(c, loop, setting, &fd, why);
    if (r == 0) {
        *out = c;
        return 0;
    }
    control_close(c);
    return is_auto ? 0 : why_prefix(why, r, "control '%s'", setting);
}

void control_close(struct control *c)
{
    if (!c)
        return;
    if (c->server) {
        progress_free(&c->progress);
        http_server_flush(c->server);
        http_server_close(c->server);
    }
    if (c->listener)
        listener_unref(c->listener);
    free(c);
}

void control_save(const struct control *c, struct handover *h, json_t *out)
{
    if (!c)
        return;
    handover_put_fd(h, out, "control_fd", listener_fd(c->listener, 0));
    json_object_set_new(out, "control_clients", progress_save(&c->progress, h));
}

const char *control_path(const struct control *c)
{
    return c ? listener_spec(c->listener)->path : NULL;
}

/* What happens -------------------------------------------------------------------------------- */

void control_reload_step(struct control *c, const struct pool *p, int slot, enum rollout_step step,
                         const char *reason)
{
    struct progress_step s = {.pool = p, .slot = slot, .step = step, .reason = reason};

    if (!c)
        return;
    reload_progress(c->status->reload, &s.done, &s.total);
    progress_step(&c->progress, PROGRESS_RELOAD, reloads_ended(c) + 1, &s);
}

void control_restart_step(struct control *c, const struct pool *p, int slot, enum rollout_step step,
                          const char *reason)
{
    struct progress_step s = {.pool = p, .slot = slot, .step = step, .reason = reason};

    if (!c)
        return;
    restart_progress(c->status->restart, &s.done, &s.total);
    progress_step(&c->progress, PROGRESS_RESTART, 0, &s);
}

void control_reload_ended(struct control *c)
{
    const struct reload *r = c ? c->status->reload : NULL;

    if (r)
        progress_end(&c->progress, PROGRESS_RELOAD, reloads_ended(c),
                     r->last_failed ? r->reason : NULL);
}

void control_restart_ended(struct control *c, bool ok)
{
    if (c)
        progress_end(&c->progress, PROGRESS_RESTART, 0, ok ? NULL : c->status->restart->why.text);
}

void control_upgrade_failed(struct control *c, const char *reason)
{
    if (c)
        progress_end(&c->progress, PROGRESS_UPGRADE, 0, reason);
}

void control_stopping(struct control *c)
{
    if (c)
        progress_end(&c->progress, PROGRESS_RELOAD, UINT64_MAX, "the master stops");
}

void control_look(struct control *c)
{
    if (c)
        progress_look(&c->progress);
}
