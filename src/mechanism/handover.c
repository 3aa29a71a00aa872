#include "mechanism/handover.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/strv.h"
#include "base/sys.h"

enum { STATE_MAX = 64 << 20 }; /* thousands of workers take a few hundred bytes each */

/* The state ------------------------------------------------------------------------------------ */

int handover_init(struct handover *h)
{
    *h = (struct handover){
        .state = json_pack("{s:i, s:s}", "version", HANDOVER_VERSION, "program", PACKAGE_VERSION)};
    return h->state ? 0 : -ENOMEM;
}

void handover_free(struct handover *h)
{
    json_decref(h->state);
    free(h->fds);
    *h = (struct handover){0};
}

void handover_put_fd(struct handover *h, json_t *object, const char *key, int fd)
{
    int *fds;

    if (fd < 0)
        return;
    fds = reallocarray(h->fds, h->nfds + 1, sizeof(*fds));
    if (!fds || json_object_set_new(object, key, json_integer(fd)) < 0) {
        h->failed = true;
        h->fds = fds ? fds : h->fds;
        return;
    }
    h->fds = fds;
    fds[h->nfds++] = fd;
}

int handover_take_fd(const json_t *object, const char *key)
{
    const json_t *number = json_object_get(object, key);
    json_int_t fd = json_is_integer(number) ? json_integer_value(number) : -1;

    if (fd < 0 || fd > INT_MAX || sys_set_cloexec((int)fd, true) < 0)
        return -1;
    return (int)fd;
}

void handover_put_bytes(json_t *object, const char *key, const char *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    CLEANUP_BUF struct buf hex = BUF_INIT;

    for (size_t i = 0; i < len; i++) {
        buf_putc(&hex, digits[(unsigned char)data[i] >> 4]);
        buf_putc(&hex, digits[data[i] & 15]);
    }
    json_object_set_new(object, key, json_string(buf_str(&hex)));
}

void handover_put_text(json_t *object, const char *key, const char *text)
{
    handover_put_bytes(object, key, text, strlen(text));
}

void handover_text(const json_t *object, const char *key, struct buf *out)
{
    const char *hex = handover_word(object, key);
    unsigned byte;

    for (; hex[0] && hex[1] && sscanf(hex, "%2x", &byte) == 1; hex += 2)
        buf_putc(out, (char)byte);
}

void handover_copy_text(const json_t *object, const char *key, char *out, size_t size)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    handover_text(object, key, &text);
    snprintf(out, size, "%s", buf_str(&text));
}

int64_t handover_number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

bool handover_flag(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

const char *handover_word(const json_t *object, const char *key)
{
    const char *word = json_string_value(json_object_get(object, key));

    return word ? word : "";
}

int handover_named(const json_t *object, const char *key, const char *(*name_of)(unsigned number),
                   unsigned n, struct why *why)
{
    const json_t *value = json_object_get(object, key);
    const char *name = json_string_value(value);

    if (!value)
        return 0;
    for (unsigned i = 0; name && i < n; i++)
        if (streq(name_of(i), name))
            return (int)i;
    return why_fail(why, -EINVAL, "'%s' is no %s that this program knows", name ? name : "", key);
}

int handover_write(const struct handover *h)
{
    CLEANUP_CLOSE int fd = -1;

    if (h->failed)
        return -ENOMEM;
    fd = memfd_create("preforkd-handover", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (json_dumpfd(h->state, fd, JSON_COMPACT) < 0)
        return -ENOSPC;
    return util_take_fd(&fd);
}

/* Reading is by number, so that whoever shares the descriptor may read as well. */
static int read_all(int fd, struct buf *out)
{
    struct stat st;
    ssize_t n = 1;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size > STATE_MAX)
        return -EFBIG;
    while (n > 0 && out->len < (size_t)st.st_size) {
        char block[65536];

        n = pread(fd, block, sizeof(block), (off_t)out->len);
        if (n > 0)
            buf_append(out, block, (size_t)n);
    }
    return n < 0 ? -errno : out->failed ? -ENOMEM : 0;
}

static int check_version(const json_t *state, struct why *why)
{
    int64_t version = handover_number(state, "version");

    if (version >= HANDOVER_OLDEST && version <= HANDOVER_VERSION)
        return 0;
    return why_fail(why, -ENOTSUP,
                    "the running program hands over state of version %lld; preforkd %s understands "
                    "%d to %d",
                    (long long)version, PACKAGE_VERSION, HANDOVER_OLDEST, HANDOVER_VERSION);
}

int handover_read(int fd, json_t **out, struct why *why)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    json_error_t error;
    json_t *state;
    int r = read_all(fd, &text);

    if (r < 0)
        return why_fail_errno(why, r, "state of the handover");
    state = json_loadb(buf_str(&text), text.len, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(state)) {
        json_decref(state);
        return why_fail(why, -EINVAL, "state of the handover: %s at byte %d",
                        state ? "no object" : error.text, error.position);
    }
    r = check_version(state, why);
    if (r < 0)
        json_decref(state);
    else
        *out = state;
    return r;
}

/* The exec ------------------------------------------------------------------------------------- */

static void set_cloexec(const struct handover *h, int memfd, bool on)
{
    for (size_t i = 0; i < h->nfds; i++)
        sys_set_cloexec(h->fds[i], on);
    sys_set_cloexec(memfd, on);
}

static int add_environment(struct strv *out, char *const *envp, int memfd)
{
    char number[16];
    int r = 0;

    for (; *envp && r == 0; envp++)
        r = strv_push(out, *envp);
    snprintf(number, sizeof(number), "%d", memfd);
    return r < 0 ? r : strv_env_set(out, HANDOVER_ENVIRONMENT, number);
}

int handover_exec(const struct handover *h, const char *path, char *const *argv, char *const *envp)
{
    CLEANUP_CLOSE int memfd = handover_write(h);
    CLEANUP_STRV struct strv environment = {0};
    int r = memfd;

    if (r >= 0)
        r = add_environment(&environment, envp, memfd);
    if (r < 0)
        return r;
    set_cloexec(h, memfd, false);
    execve(path, argv, environment.items);
    r = -errno;
    set_cloexec(h, memfd, true);
    return r;
}

int handover_take_from_environment(void)
{
    const char *text = getenv(HANDOVER_ENVIRONMENT);
    char *end = NULL;
    long fd = text ? strtol(text, &end, 10) : -1;

    unsetenv(HANDOVER_ENVIRONMENT);
    if (!text || end == text || *end || fd <= STDERR_FILENO || fd > INT_MAX ||
        sys_set_cloexec((int)fd, true) < 0)
        return -1;
    return (int)fd;
}

/* The program ---------------------------------------------------------------------------------- */

static char *in_folder(const char *folder, size_t len, const char *name)
{
    CLEANUP_BUF struct buf path = BUF_INIT;

    buf_append(&path, folder, len);
    buf_printf(&path, "%s%s", len > 0 ? "/" : "./", name);
    return buf_take(&path);
}

static char *search(const char *name)
{
    const char *at = getenv("PATH");

    while (at && *at) {
        size_t len = strcspn(at, ":");
        char *path = in_folder(at, len, name);

        if (path && access(path, X_OK) == 0)
            return path;
        free(path);
        at += len + (at[len] == ':');
    }
    return NULL;
}

/* Links on the way are kept as they are: an installer may point them at the new program. */
char *handover_program(const char *argv0)
{
    CLEANUP_FREE char *path = strchr(argv0, '/') ? strdup(argv0) : search(argv0);
    CLEANUP_FREE char *here = NULL;

    if (!path || path[0] == '/') {
        char *absolute = path;

        path = NULL;
        return absolute;
    }
    here = getcwd(NULL, 0);
    return here ? in_folder(here, strlen(here), path) : NULL;
}
