#include "mechanism/activation.h"

#include <limits.h>

#include "base/strv.h"
#include "base/sys.h"

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */

/* Decimal digits only, as systemd writes them. */
static int parse_number(const char *text, int max, int *out)
{
    unsigned long value;

    if (!*text || text[strspn(text, "0123456789")])
        return -EINVAL;
    errno = 0;
    value = strtoul(text, NULL, 10);
    if (errno || value > (unsigned long)max)
        return -EINVAL;
    *out = (int)value;
    return 0;
}

/* How many descriptors are meant for this process. */
static int count_fds(const struct strv *env)
{
    const char *pid_text = strv_env_get(env, "LISTEN_PID");
    const char *fds_text = strv_env_get(env, "LISTEN_FDS");
    int pid, n, r;

    if (!pid_text || !fds_text)
        return 0;
    r = parse_number(pid_text, INT_MAX, &pid);
    if (r < 0 || pid != getpid())
        return r;
    r = parse_number(fds_text, INT_MAX - FIRST_FD, &n);
    return r < 0 ? r : n;
}

/* Before anything is allocated, so that a huge number ends at the first descriptor that is not
 * open. */
static int set_all_cloexec(int n)
{
    for (int i = 0; i < n; i++)
        if (sys_set_cloexec(FIRST_FD + i, true) < 0)
            return -EINVAL;
    return 0;
}

/* "web:admin", one name for each descriptor, each possibly empty. */
static int assign_names(struct activation *a, const char *names)
{
    for (size_t i = 0; i < a->n; i++) {
        size_t len = strcspn(names, ":");
        bool is_last = i + 1 == a->n;

        if (len > ACTIVATION_NAME_MAX || (names[len] == '\0') != is_last)
            return -EINVAL;
        memcpy(a->fds[i].name, names, len);
        names += len + !is_last;
    }
    return 0;
}

int activation_collect(char *const *envp, struct activation *out)
{
    struct strv env = {.items = (char **)envp};
    const char *names;
    int n, r;

    *out = (struct activation){0};
    while (env.items[env.n])
        env.n++;
    n = count_fds(&env);
    if (n <= 0)
        return n;
    r = set_all_cloexec(n);
    if (r < 0)
        return r;
    out->fds = calloc((size_t)n, sizeof(*out->fds));
    if (!out->fds)
        return -ENOMEM;
    for (; out->n < (size_t)n; out->n++)
        out->fds[out->n].fd = FIRST_FD + (int)out->n;
    names = strv_env_get(&env, "LISTEN_FDNAMES");
    r = names ? assign_names(out, names) : 0;
    if (r < 0) {
        activation_free(out);
        return r;
    }
    return n;
}

void activation_free(struct activation *a)
{
    for (size_t i = 0; i < a->n; i++)
        util_close_p(&a->fds[i].fd);
    free(a->fds);
    *a = (struct activation){0};
}
