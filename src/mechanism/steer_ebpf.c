#include "mechanism/steer_ebpf.h"

#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/sys.h"

/* bpf(2) -------------------------------------------------------------------------------------- */

static int new_map(enum bpf_map_type type, uint32_t value_size, uint32_t entries, uint32_t flags)
{
    union bpf_attr attr = {.map_type = type,
                           .key_size = sizeof(uint32_t),
                           .value_size = value_size,
                           .max_entries = entries,
                           .map_flags = flags,
                           .map_name = "preforkd"};

    return sys_bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
}

/* None of the functions that it calls is reserved for programs under the GPL. The attach type makes
 * the kernel ask it also where connections go whose queue is closed (Linux 5.14). */
static int load_program(const struct bpf_insn *code, int n)
{
    union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_SK_REUSEPORT,
                           .expected_attach_type = BPF_SK_REUSEPORT_SELECT_OR_MIGRATE,
                           .insns = (uintptr_t)code,
                           .insn_cnt = (uint32_t)n,
                           .license = (uintptr_t) "BSD",
                           .prog_name = "preforkd_steer"};

    return sys_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
}

/* Of the socket in the map; 0: there is none. */
static uint64_t cookie_in_map(const struct steer_ebpf *e, uint32_t key)
{
    uint64_t cookie = 0;
    union bpf_attr attr = {
        .map_fd = (uint32_t)e->sockets_fd, .key = (uintptr_t)&key, .value = (uintptr_t)&cookie};

    return sys_bpf(BPF_MAP_LOOKUP_ELEM, &attr, sizeof(attr)) < 0 ? 0 : cookie;
}

static uint64_t cookie_of(int fd)
{
    uint64_t cookie = 0;
    socklen_t len = sizeof(cookie);

    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0 ? 0 : cookie;
}

/* Life ---------------------------------------------------------------------------------------- */

static size_t table_size(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return (sizeof(struct steer_table) + page - 1) / page * page;
}

void steer_ebpf_init(struct steer_ebpf *e)
{
    *e = (struct steer_ebpf){.table_fd = -1, .sockets_fd = -1, .prog_fd = -1};
}

void steer_ebpf_free(struct steer_ebpf *e)
{
    if (e->table)
        munmap(e->table, table_size());
    util_close_p(&e->table_fd);
    util_close_p(&e->sockets_fd);
    util_close_p(&e->prog_fd);
    steer_ebpf_init(e);
}

/* Without the right bpf(2) is not even called: a sandbox may end who calls what it does not know.
 */
static int make_maps(struct steer_ebpf *e)
{
    void *table;

    if (!sys_has_capability(getpid(), CAP_BPF) && !sys_has_capability(getpid(), CAP_SYS_ADMIN))
        return -EPERM;
    e->table_fd = new_map(BPF_MAP_TYPE_ARRAY, sizeof(struct steer_table), 1, BPF_F_MMAPABLE);
    if (e->table_fd < 0)
        return e->table_fd;
    e->sockets_fd = new_map(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, sizeof(uint64_t), STEER_SEATS_MAX, 0);
    if (e->sockets_fd < 0)
        return e->sockets_fd;
    table = mmap(NULL, table_size(), PROT_READ | PROT_WRITE, MAP_SHARED, e->table_fd, 0);
    if (table == MAP_FAILED)
        return -errno;
    e->table = table;
    return 0;
}

static int make_program(struct steer_ebpf *e, const struct steer_plan *plan)
{
    struct bpf_insn code[STEER_EBPF_MAX];
    int fd = load_program(code, steer_prog_ebpf_build(plan, e->table_fd, e->sockets_fd, code));

    if (fd < 0)
        return fd;
    util_close_p(&e->prog_fd);
    e->prog_fd = fd;
    e->plan = *plan;
    return 0;
}

int steer_ebpf_prepare(struct steer_ebpf *e, const struct steer_plan *plan)
{
    int r = 0;

    if (e->error < 0 || (e->prog_fd >= 0 && steer_plan_equal(&e->plan, plan)))
        return e->error;
    if (!e->table)
        r = make_maps(e);
    if (r == 0)
        r = make_program(e, plan);
    if (r < 0) {
        steer_ebpf_free(e);
        e->error = r;
    }
    return r;
}

/* Use ----------------------------------------------------------------------------------------- */

/* -EBUSY is the kernel's answer for a socket that is in a map, in this one or in another. */
int steer_ebpf_add(struct steer_ebpf *e, int slot, int fd)
{
    uint32_t key = (uint32_t)slot;
    uint64_t value = (uint64_t)fd;
    union bpf_attr attr = {
        .map_fd = (uint32_t)e->sockets_fd, .key = (uintptr_t)&key, .value = (uintptr_t)&value};
    int r = sys_bpf(BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr));

    if (r == -EBUSY && cookie_in_map(e, key) == cookie_of(fd))
        return 0;
    return r < 0 ? r : 0;
}

void steer_ebpf_remove(struct steer_ebpf *e, int slot)
{
    uint32_t key = (uint32_t)slot;
    union bpf_attr attr = {.map_fd = (uint32_t)e->sockets_fd, .key = (uintptr_t)&key};

    sys_bpf(BPF_MAP_DELETE_ELEM, &attr, sizeof(attr));
}

/* The program may run on another CPU meanwhile. It then meets a mixture of before and now, whose
 * every part is a slot that was right a moment ago, as long as what is behind the end is not seen.
 */
void steer_ebpf_choose(struct steer_ebpf *e, const uint16_t *slots, int n)
{
    struct steer_table *t = e->table;

    if ((uint32_t)n < t->n)
        __atomic_store_n(&t->n, (uint32_t)n, __ATOMIC_SEQ_CST);
    for (int i = 0; i < n; i++)
        __atomic_store_n(&t->slots[i], slots[i], __ATOMIC_RELAXED);
    __atomic_store_n(&t->n, (uint32_t)n, __ATOMIC_SEQ_CST);
}
