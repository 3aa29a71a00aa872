#include "policy/steer_prog.h"

#include <errno.h>

#include "base/util.h"

/* The key ------------------------------------------------------------------------------------- */

/* Offsets from the network header. The program's own offset 0 is behind the transport header, whose
 * length it cannot know. */
#define NET(offset) ((uint32_t)(SKF_NET_OFF + (offset)))
#define AD(offset)  ((uint32_t)(SKF_AD_OFF + (offset)))

#define LOAD(size, mode, k)  BPF_STMT(BPF_LD | (size) | (mode), (k))
#define MULTIPLY(k)          BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, (k))
#define XOR_X                BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0)
#define XOR(k)               BPF_STMT(BPF_ALU | BPF_XOR | BPF_K, (k))
#define JUMP(skip)           BPF_STMT(BPF_JMP | BPF_JA, (skip))
#define UNLESS(value, skip)  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (skip))
#define TO_X                 BPF_STMT(BPF_MISC | BPF_TAX, 0)
#define SHIFT_DOWN(bits)     BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, (bits))
#define FOLD(factor, bits)   MULTIPLY(factor), TO_X, SHIFT_DOWN(bits), XOR_X
#define IF_VERSION_6(skip)   BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x20, (skip), 0) /* not 4 */
#define ADD_WORD(at, factor) TO_X, LOAD(BPF_W, BPF_ABS, NET(at)), MULTIPLY(factor), XOR_X

enum {
    SEED_AT = 22,     /* in hash_key */
    NOBODY = INT_MAX, /* an index that is none: the kernel's hash decides */
};

/* Of the sender: the address is in A and the port in M[0] when the two families meet. Extension
 * headers of IPv6 only make other bytes count than those of the port. The hash of the packet itself
 * (SKF_AD_RXHASH) is of no use: it is 0 where neither hardware nor sender made one. */
// clang-format off
static const struct sock_filter hash_key[] = {
    LOAD(BPF_B, BPF_ABS, NET(0)),
    IF_VERSION_6(5),

    BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, NET(0)),      /* X: length of the IPv4 header */
    LOAD(BPF_H, BPF_IND, NET(0)),
    BPF_STMT(BPF_ST, 0),
    LOAD(BPF_W, BPF_ABS, NET(12)),
    JUMP(15),

    LOAD(BPF_H, BPF_ABS, NET(40)),
    BPF_STMT(BPF_ST, 0),
    LOAD(BPF_W, BPF_ABS, NET(8)),
    ADD_WORD(12, 0x9e3779b1),
    ADD_WORD(16, 0x85ebca77),
    ADD_WORD(20, 0xc2b2ae3d),

    XOR(0),                                           /* the seed */
    FOLD(0x27d4eb2f, 15),
    BPF_STMT(BPF_LDX | BPF_MEM, 0),
    BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
    FOLD(0x85ebca6b, 13),
    FOLD(0xc2b2ae35, 16),
};
// clang-format on

/* The slot of a probe in A. Else it goes on behind the last instruction but one, a jump. */
// clang-format off
static const struct sock_filter probe_slot[] = {
    LOAD(BPF_B, BPF_ABS, NET(0)),
    IF_VERSION_6(3),
    LOAD(BPF_W, BPF_ABS, NET(12)),
    XOR(STEER_PROBE_IP4),
    JUMP(11),

    LOAD(BPF_W, BPF_ABS, NET(8)),
    UNLESS(0, 10),
    LOAD(BPF_W, BPF_ABS, NET(12)),
    UNLESS(0, 8),
    LOAD(BPF_W, BPF_ABS, NET(16)),
    UNLESS(0, 6),
    LOAD(BPF_W, BPF_ABS, NET(20)),
    UNLESS(1, 4),
    LOAD(BPF_W, BPF_ABS, NET(0)),
    BPF_STMT(BPF_ALU | BPF_AND | BPF_K, STEER_PROBE_IP6_MASK),
    XOR(STEER_PROBE_IP6_WORD),
};
// clang-format on

static const struct sock_filter random_key[] = {LOAD(BPF_W, BPF_ABS, AD(SKF_AD_RANDOM))};
static const struct sock_filter cpu_key[] = {LOAD(BPF_W, BPF_ABS, AD(SKF_AD_CPU))};

static const struct {
    const struct sock_filter *code;
    size_t n;
} keys[] = {
    [BALANCE_HASH] = {hash_key, ARRAY_SIZE(hash_key)},
    [BALANCE_RANDOM] = {random_key, ARRAY_SIZE(random_key)},
    [BALANCE_ROUND_ROBIN] = {random_key, ARRAY_SIZE(random_key)},
    [BALANCE_CPU] = {cpu_key, ARRAY_SIZE(cpu_key)},
};

int steer_count_live(const struct steer_seat *seats, int n)
{
    int nlive = 0;

    if (n > STEER_SEATS_MAX)
        return -E2BIG;
    for (int i = 0; i < n; i++) {
        if (seats[i].slot >= STEER_SEATS_MAX)
            return -E2BIG;
        nlive += seats[i].live;
    }
    return nlive;
}

/* Where each remainder goes ------------------------------------------------------------------- */

/* Live sockets with an index below their number keep it, and the others fill the holes. So almost
 * all remainders are the index already. */
static int fill_holes(const struct steer_seat *seats, int nlive, uint16_t *targets)
{
    int from = nlive;

    for (int i = 0; i < nlive; i++) {
        targets[i] = (uint16_t)i;
        if (seats[i].live)
            continue;
        while (!seats[from].live)
            from++;
        targets[i] = (uint16_t)from++;
    }
    return nlive;
}

/* The slot for each CPU, live or not; returns for how many CPUs. */
static int assign_cpus(const struct cpus *cpus, int nslots, uint16_t *slots)
{
    int count = nslots;

    if (cpus && cpus->n > 0 && cpus->ids[cpus->n - 1] >= count)
        count = cpus->ids[cpus->n - 1] + 1;
    if (count > STEER_SEATS_MAX)
        count = STEER_SEATS_MAX;
    for (int cpu = 0; cpu < count; cpu++)
        slots[cpu] = (uint16_t)(cpu % nslots);
    for (int i = 0; cpus && i < cpus->n; i++)
        if (cpus->ids[i] < count)
            slots[cpus->ids[i]] = (uint16_t)(i % nslots);
    return count;
}

int steer_slots_by_cpu(const struct cpus *cpus, const struct steer_seat *seats, int n,
                       uint16_t slots[STEER_SEATS_MAX])
{
    uint16_t live[STEER_SEATS_MAX];
    bool found[STEER_SEATS_MAX] = {false};
    int nslots = 0, nlive = 0, count;

    for (int i = 0; i < n; i++) {
        if (seats[i].slot >= nslots)
            nslots = seats[i].slot + 1;
        if (seats[i].live)
            found[seats[i].slot] = true;
    }
    for (int slot = 0; slot < nslots; slot++)
        if (found[slot])
            live[nlive++] = (uint16_t)slot;
    if (nlive == 0)
        return 0;
    count = assign_cpus(cpus, nslots, slots);
    for (int cpu = 0; cpu < count; cpu++)
        if (!found[slots[cpu]])
            slots[cpu] = live[cpu % nlive];
    return count;
}

/* Where the socket of each slot is; returns the number of slots. What is in a hole is never used.
 */
static int place_slots(const struct steer_seat *seats, int n, uint16_t *places)
{
    int count = 0;

    for (int slot = 0; slot < STEER_SEATS_MAX; slot++)
        places[slot] = (uint16_t)slot;
    for (int i = 0; i < n; i++) {
        if (seats[i].slot >= count)
            count = seats[i].slot + 1;
        if (seats[i].slot >= 0)
            places[seats[i].slot] = (uint16_t)i;
    }
    return count;
}

/* By the numbers of the slots, wherever their sockets are in the group. */
static int follow_slots(const struct cpus *cpus, const struct steer_seat *seats, int n,
                        uint16_t *targets)
{
    uint16_t places[STEER_SEATS_MAX];
    int count = steer_slots_by_cpu(cpus, seats, n, targets);

    place_slots(seats, n, places);
    for (int i = 0; i < count; i++)
        targets[i] = places[targets[i]];
    return count;
}

/* The program --------------------------------------------------------------------------------- */

struct writer {
    struct sock_filter *code;
    int n;
};

static void put(struct writer *w, struct sock_filter instruction)
{
    if (w->n < BPF_MAXINSNS)
        w->code[w->n] = instruction;
    w->n++;
}

static void put_all(struct writer *w, const struct sock_filter *code, size_t n)
{
    for (size_t i = 0; i < n; i++)
        put(w, code[i]);
}

static void put_key(struct writer *w, enum balance_mode balance, uint32_t seed)
{
    int begin = w->n;

    put_all(w, keys[balance].code, keys[balance].n);
    if (balance == BALANCE_HASH && begin + SEED_AT < BPF_MAXINSNS)
        w->code[begin + SEED_AT].k = seed;
}

static void put_jump(struct writer *w, uint16_t op, int k, uint8_t jt, uint8_t jf)
{
    put(w, (struct sock_filter)BPF_JUMP(BPF_JMP | op | BPF_K, (uint32_t)k, jt, jf));
}

static void put_statement(struct writer *w, uint16_t op, int k)
{
    put(w, (struct sock_filter)BPF_STMT(op, (uint32_t)k));
}

/* The remainders from `first` to before `end` go to as many neighbours from `target` on. */
static void put_run(struct writer *w, int first, int end, int target)
{
    if (first == target)
        return;
    if (end == first + 1) {
        put_jump(w, BPF_JEQ, first, 0, 1);
        put_statement(w, BPF_RET | BPF_K, target);
        return;
    }
    put_jump(w, BPF_JGE, first, 0, 3);
    put_jump(w, BPF_JGE, end, 2, 0);
    put_statement(w, BPF_ALU | BPF_ADD | BPF_K, target - first);
    put_statement(w, BPF_RET | BPF_A, 0);
}

/* From the number in A, less than n, to the socket at its target. */
static void put_targets(struct writer *w, const uint16_t *targets, int n)
{
    int first = 0;

    for (int i = 1; i <= n; i++) {
        if (i < n && targets[i] - targets[first] == i - first)
            continue;
        put_run(w, first, i, targets[first]);
        first = i;
    }
    put_statement(w, BPF_RET | BPF_A, 0);
}

static void put_probes(struct writer *w, const struct steer_seat *seats, int n)
{
    uint16_t places[STEER_SEATS_MAX];
    int count = place_slots(seats, n, places), jump;

    put_all(w, probe_slot, ARRAY_SIZE(probe_slot));
    put_jump(w, BPF_JGE, count, 0, 1);
    jump = w->n;
    put_statement(w, BPF_JMP | BPF_JA, 0);
    put_targets(w, places, count);
    if (w->n < BPF_MAXINSNS)
        w->code[jump].k = (uint32_t)(w->n - jump - 1);
}

static void put_choice(struct writer *w, const struct steer_plan *plan,
                       const struct steer_seat *seats, int n, int nlive, uint32_t seed)
{
    uint16_t targets[STEER_SEATS_MAX];
    int count = plan->balance == BALANCE_CPU ? follow_slots(plan->cpus, seats, n, targets)
                                             : fill_holes(seats, nlive, targets);

    put_key(w, plan->balance, seed);
    put_statement(w, BPF_ALU | BPF_MOD | BPF_K, count);
    put_targets(w, targets, count);
}

int steer_prog_build(const struct steer_plan *plan, const struct steer_seat *seats, int n,
                     uint32_t seed, struct sock_filter code[BPF_MAXINSNS])
{
    struct writer w = {.code = code};
    int nlive = steer_count_live(seats, n);
    bool chooses = nlive > 0 && (nlive < n || plan->balance != BALANCE_HASH);

    if (nlive < 0)
        return nlive;
    if (n <= 1 || (!chooses && !plan->probes))
        return 0;
    if (plan->probes)
        put_probes(&w, seats, n);
    if (chooses)
        put_choice(&w, plan, seats, n, nlive, seed);
    else
        put_statement(&w, BPF_RET | BPF_K, NOBODY);
    return w.n > BPF_MAXINSNS ? -E2BIG : w.n;
}
