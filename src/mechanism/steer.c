#include "mechanism/steer.h"

#include <sys/random.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/sys.h"

/* Of any group's order. */
static uint64_t changes;

uint64_t steer_changes(void)
{
    return changes;
}

void steer_init(struct steer *s, bool udp)
{
    *s = (struct steer){.udp = udp};
    steer_ebpf_init(&s->ebpf);
    if (getrandom(&s->seed, sizeof(s->seed), GRND_NONBLOCK) < 0)
        s->seed = (uint32_t)random();
}

void steer_free(struct steer *s)
{
    steer_ebpf_free(&s->ebpf);
    free(s->members);
    s->members = NULL;
    s->n = 0;
}

/* The order ----------------------------------------------------------------------------------- */

static int find(const struct steer *s, int fd)
{
    for (int i = 0; i < s->n; i++)
        if (s->members[i].fd == fd)
            return i;
    return -1;
}

/* As the kernel does it. */
static void drop(struct steer *s, int i)
{
    changes++;
    s->members[i] = s->members[--s->n];
    s->changed = true;
}

static bool is_listening(int fd)
{
    int value = 0;
    socklen_t len = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) == 0 && value;
}

/* Of several that left since the last look, which went first is not known; it makes a difference
 * only when both have others behind them that stay. */
void steer_look(struct steer *s)
{
    for (int i = s->n; !s->udp && i-- > 0;)
        if (!is_listening(s->members[i].fd))
            drop(s, i);
}

/* The program --------------------------------------------------------------------------------- */

/* Any socket of the group will do. A worker may have locked its own (SO_LOCK_FILTER). */
static int set_in_group(const struct steer *s, int option, const void *value, socklen_t len)
{
    int r = 0;

    for (int i = 0; i < s->n; i++) {
        r = setsockopt(s->members[i].fd, SOL_SOCKET, option, value, len) < 0 ? -errno : 0;
        if (r != -EPERM)
            break;
    }
    return r;
}

/* Also one that a worker attached. -ENOENT: there is none. */
static void detach(struct steer *s)
{
    const int unused = 0;

    set_in_group(s, SO_DETACH_REUSEPORT_BPF, &unused, sizeof(unused));
}

static void collect_seats(const struct steer *s, struct steer_seat *seats)
{
    for (int i = 0; i < s->n; i++)
        seats[i] = s->members[i].seat;
}

static int attach_classic(struct steer *s, int more)
{
    struct steer_seat seats[STEER_SEATS_MAX + 1];
    struct sock_filter code[BPF_MAXINSNS];
    struct sock_fprog program = {.filter = code};
    int r;

    if (s->n > STEER_SEATS_MAX)
        return -E2BIG;
    collect_seats(s, seats);
    seats[s->n] = (struct steer_seat){.slot = -1};
    r = steer_prog_build(&s->plan, seats, s->n + more, s->seed, code);
    if (r <= 0)
        return r;
    program.len = (unsigned short)r;
    r = set_in_group(s, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program));
    return r < 0 ? r : STEER_BY_CLASSIC;
}

/* A socket that was shut down and listens again has left the map without our knowing. */
static int fill_map(struct steer *s)
{
    int r = 0;

    for (int i = 0; i < s->n && r == 0; i++) {
        struct steer_member *m = &s->members[i];

        if (!m->mapped && m->seat.slot >= 0)
            r = steer_ebpf_add(&s->ebpf, m->seat.slot, m->fd);
        m->mapped = r == 0 && m->seat.slot >= 0;
    }
    return r;
}

static int attach_ebpf(struct steer *s)
{
    struct steer_seat seats[STEER_SEATS_MAX];
    uint16_t slots[STEER_SEATS_MAX];
    int n, r = steer_ebpf_prepare(&s->ebpf, &s->plan);

    if (r == 0)
        r = s->n > STEER_SEATS_MAX ? -E2BIG : fill_map(s);
    if (r < 0)
        return r;
    collect_seats(s, seats);
    n = steer_table_build(&s->plan, seats, s->n, slots);
    if (n < 0)
        return n;
    steer_ebpf_choose(&s->ebpf, slots, n);
    r = set_in_group(s, SO_ATTACH_REUSEPORT_EBPF, &s->ebpf.prog_fd, sizeof(s->ebpf.prog_fd));
    return r < 0 ? r : STEER_BY_EBPF;
}

static void warn_once(int err)
{
    static bool told;

    if (!told)
        log_warn(LOG_NOBODY,
                 "balance = round-robin needs CAP_BPF and Linux 5.14 (%s): connections go to "
                 "workers by chance instead",
                 strerror(-err));
    told = true;
}

/* `more` sockets are about to join. One alone is not steered. -EBUSY: a dead master's program still
 * has sockets in its map, until a moment after it was replaced by one of the other kind. */
static int apply(struct steer *s, int more)
{
    int r = STEER_BY_KERNEL;
    bool busy;

    steer_look(s);
    if (s->n + more > 1)
        r = attach_ebpf(s);
    busy = r == -EBUSY;
    if (r < 0 && !busy && s->plan.balance == BALANCE_ROUND_ROBIN)
        warn_once(r);
    if (r < 0)
        r = attach_classic(s, more);
    if (r <= 0)
        detach(s);
    s->by = r > 0 ? r : STEER_BY_KERNEL;
    s->changed = more > 0 || busy;
    return r < 0 ? r : 0;
}

int steer_apply(struct steer *s)
{
    int before = s->error;

    if (!s->changed)
        return 0;
    s->error = apply(s, 0);
    return s->error == before ? 0 : s->error;
}

void steer_again(struct steer *s)
{
    for (int i = 0; i < s->n; i++)
        s->members[i].mapped = false;
    s->changed = true;
    steer_apply(s);
}

int steer_choose(struct steer *s, const struct steer_plan *plan)
{
    s->changed = s->changed || !steer_plan_equal(&s->plan, plan);
    s->plan = *plan;
    return steer_apply(s);
}

void steer_reset(struct steer *s)
{
    detach(s);
    s->changed = true;
}

void steer_release(struct steer *s)
{
    int r;

    if (s->by != STEER_BY_EBPF)
        return;
    r = attach_classic(s, 0);
    if (r <= 0)
        detach(s);
    s->by = r > 0 ? r : STEER_BY_KERNEL;
    s->changed = true;
    for (int i = 0; i < s->n; i++) {
        if (s->members[i].mapped)
            steer_ebpf_remove(&s->ebpf, s->members[i].seat.slot);
        s->members[i].mapped = false;
    }
}

/* Changes ------------------------------------------------------------------------------------- */

void steer_before_join(struct steer *s)
{
    if (s->n > 0)
        apply(s, 1);
}

int steer_join(struct steer *s, int fd)
{
    struct steer_member *members;
    int i = find(s, fd);

    s->changed = true;
    if (i >= 0) {
        s->members[i].mapped = false;
        return 0;
    }
    members = reallocarray(s->members, (size_t)s->n + 1, sizeof(*members));
    if (!members)
        return -ENOMEM;
    s->members = members;
    members[s->n++] = (struct steer_member){.fd = fd, .seat.slot = -1};
    changes++;
    return 0;
}

static int count_live(const struct steer *s)
{
    int n = 0;

    for (int i = 0; i < s->n; i++)
        n += s->members[i].seat.live;
    return n;
}

/* A live socket that gets another number by this is left out in the moment of the change, when
 * there are others. */
void steer_leave(struct steer *s, int fd)
{
    int i = find(s, fd), last = s->n - 1;

    if (i < 0)
        return;
    if (i != last && s->by == STEER_BY_CLASSIC && s->members[last].seat.live && count_live(s) > 1) {
        s->members[last].seat.live = false;
        apply(s, 0);
        s->members[last].seat.live = true;
    }
    drop(s, i);
}

void steer_set(struct steer *s, int fd, int slot, bool live)
{
    const struct steer_seat seat = {.slot = slot, .live = live};
    int i = slot < s->n && s->members[slot].fd == fd ? slot : find(s, fd);

    if (i < 0 && !s->udp && is_listening(fd) && steer_join(s, fd) == 0)
        i = s->n - 1; /* a worker brought it back */
    if (i < 0 || (s->members[i].seat.slot == slot && s->members[i].seat.live == live))
        return;
    s->members[i].mapped = s->members[i].mapped && s->members[i].seat.slot == slot;
    s->members[i].seat = seat;
    s->changed = true;
}

bool steer_is_anyone_live(const struct steer *s)
{
    return count_live(s) > 0;
}

bool steer_migrates(const struct steer *s)
{
    return s->by == STEER_BY_EBPF || sys_sysctl("/proc/sys/net/ipv4/tcp_migrate_req", 0) > 0;
}
