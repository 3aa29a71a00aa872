#include "mechanism/own_sockets.h"

#include "mechanism/proc_tree.h"
#include "mechanism/sockdiag.h"

enum {
    LOOKS_MAX = 4096, /* descriptors and threads in one call */
    DESCRIBED_MAX = 5,
};

struct candidate {
    struct sockdiag_socket socket;
    bool is_held; /* by one of the processes */
};

/* Everything on this machine that listens and is none of the given ones. */
struct search {
    const uint64_t *given;
    size_t ngiven;
    struct candidate *candidates;
    size_t n, capacity;
    int looks_left;
    int err;
};

static bool is_given(const struct search *s, uint64_t inode)
{
    for (size_t i = 0; i < s->ngiven; i++)
        if (s->given[i] == inode)
            return true;
    return false;
}

static void reserve(struct search *s)
{
    size_t capacity = s->capacity ? 2 * s->capacity : 64;
    struct candidate *candidates = reallocarray(s->candidates, capacity, sizeof(*candidates));

    if (!candidates) {
        s->err = -ENOMEM;
        return;
    }
    s->candidates = candidates;
    s->capacity = capacity;
}

static void add_candidate(const struct sockdiag_socket *socket, void *data)
{
    struct search *s = data;

    if (is_given(s, socket->inode))
        return;
    if (s->n == s->capacity)
        reserve(s);
    if (s->err == 0)
        s->candidates[s->n++] = (struct candidate){.socket = *socket};
}

static int compare_inodes(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    return (x->socket.inode > y->socket.inode) - (x->socket.inode < y->socket.inode);
}

/* By bsearch(3): a worker may hold thousands of connections, a machine thousands of listeners. */
static int mark_held(int fd UNUSED, const char *target, void *data)
{
    struct search *s = data;
    const struct candidate key = {.socket.inode = proc_tree_socket_inode(target)};
    struct candidate *found = NULL;

    if (key.socket.inode && s->n > 0)
        found = bsearch(&key, s->candidates, s->n, sizeof(key), compare_inodes);
    if (found)
        found->is_held = true;
    return 0;
}

static int look_at_process(pid_t pid, void *data)
{
    struct search *s = data;

    return proc_tree_each_descriptor(pid, &s->looks_left, mark_held, s);
}

static int describe_held(const struct search *s, struct buf *out)
{
    int held = 0;

    for (size_t i = 0; i < s->n; i++) {
        if (!s->candidates[i].is_held)
            continue;
        if (held < DESCRIBED_MAX) {
            buf_puts(out, held > 0 ? ", " : "");
            sockdiag_format(&s->candidates[i].socket, out);
        }
        held++;
    }
    if (held > DESCRIBED_MAX)
        buf_printf(out, " and %d more", held - DESCRIBED_MAX);
    return held;
}

int own_sockets_describe(pid_t pid, const uint64_t *given, size_t n, struct buf *out)
{
    struct search s = {.given = given, .ngiven = n, .looks_left = LOOKS_MAX};
    int err = sockdiag_each(false, 0, add_candidate, &s);
    int held = 0;

    if (err == 0)
        err = s.err;
    if (err == 0) {
        if (s.n > 0)
            qsort(s.candidates, s.n, sizeof(*s.candidates), compare_inodes);
        err = proc_tree_each_process(pid, &s.looks_left, look_at_process, &s);
        held = describe_held(&s, out);
    }
    free(s.candidates);
    return held > 0 ? held : err;
}
