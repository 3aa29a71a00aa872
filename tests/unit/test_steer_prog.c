/* The steering program, run by an interpreter of classic BPF over packets made here. */
#include "policy/steer_prog.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdio.h>

#include "base/util.h"

enum { SEED = 0x5eed1234, MANY = 4096 };

/* What a program sees. `net` begins with the network header. */
struct packet {
    uint8_t net[128];
    uint32_t random, cpu;
};

static struct sock_filter code[BPF_MAXINSNS];

/* ---- the interpreter ---- */

static uint32_t bytes_at(const struct packet *p, uint32_t offset, int size)
{
    uint32_t at = offset - (uint32_t)SKF_NET_OFF, value = 0;

    cr_assert_leq(at + (uint32_t)size, sizeof(p->net), "reads at %d", (int)offset);
    for (int i = 0; i < size; i++)
        value = value << 8 | p->net[at + (uint32_t)i];
    return value;
}

static uint32_t load(const struct packet *p, const struct sock_filter *f, uint32_t x)
{
    int size = BPF_SIZE(f->code) == BPF_W ? 4 : BPF_SIZE(f->code) == BPF_H ? 2 : 1;

    if (f->k == (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM))
        return p->random;
    if (f->k == (uint32_t)(SKF_AD_OFF + SKF_AD_CPU))
        return p->cpu;
    return bytes_at(p, f->k + (BPF_MODE(f->code) == BPF_IND ? x : 0), size);
}

static uint32_t compute(const struct sock_filter *f, uint32_t a, uint32_t x)
{
    uint32_t b = BPF_SRC(f->code) == BPF_X ? x : f->k;

    switch (BPF_OP(f->code)) {
    case BPF_ADD: return a + b;
    case BPF_MUL: return a * b;
    case BPF_MOD: return a % b;
    case BPF_XOR: return a ^ b;
    case BPF_RSH: return a >> b;
    default: cr_assert_fail("operation %#x", f->code); return 0;
    }
}

static int jump(const struct sock_filter *f, uint32_t a)
{
    switch (BPF_OP(f->code)) {
    case BPF_JA: return (int)f->k;
    case BPF_JGE: return a >= f->k ? f->jt : f->jf;
    case BPF_JEQ: return a == f->k ? f->jt : f->jf;
    case BPF_JSET: return a & f->k ? f->jt : f->jf;
    default: cr_assert_fail("jump %#x", f->code); return 0;
    }
}

static uint32_t run(int n, const struct packet *p)
{
    uint32_t a = 0, x = 0, cell = 0;

    for (int pc = 0; pc < n; pc++) {
        const struct sock_filter *f = &code[pc];

        switch (BPF_CLASS(f->code)) {
        case BPF_LD: a = load(p, f, x); break;
        case BPF_LDX: x = BPF_MODE(f->code) == BPF_MSH ? 4 * (load(p, f, 0) & 15) : cell; break;
        case BPF_ST: cell = a; break;
        case BPF_ALU: a = compute(f, a, x); break;
        case BPF_JMP: pc += jump(f, a); break;
        case BPF_RET: return BPF_RVAL(f->code) == BPF_A ? a : f->k;
        case BPF_MISC: x = a; break;
        default: cr_assert_fail("instruction %#x", f->code);
        }
    }
    cr_assert_fail("no return");
    return 0;
}

/* ---- packets ---- */

static void put16(uint8_t *to, unsigned value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
}

static struct packet ip4(const char *address, unsigned port, unsigned option_words)
{
    struct packet p = {.net = {(uint8_t)(0x45 + option_words)}};

    cr_assert_eq(inet_pton(AF_INET, address, p.net + 12), 1);
    put16(p.net + 20 + 4 * option_words, port);
    put16(p.net + 22 + 4 * option_words, 80);
    return p;
}

static struct packet ip6(const char *address, unsigned port)
{
    struct packet p = {.net = {0x6f, 0xff}};

    cr_assert_eq(inet_pton(AF_INET6, address, p.net + 8), 1);
    put16(p.net + 40, port);
    put16(p.net + 42, 80);
    return p;
}

/* ---- groups ---- */

static struct steer_seat seats[MANY + 1];

/* Sockets in the order of their slots; bit i of `mask`: slot i is live. */
static int group(int n, unsigned mask)
{
    for (int i = 0; i < n; i++)
        seats[i] = (struct steer_seat){.slot = i, .live = i < 32 && mask >> i & 1};
    return n;
}

static int build(enum balance_mode balance, int n)
{
    return steer_prog_build(&(struct steer_plan){.balance = balance}, seats, n, SEED, code);
}

/* Runs the program with every remainder equally often, and wants each live socket to be chosen as
 * often as the others. */
static void expect_even(int length, int n, int nlive)
{
    static int hits[MANY];

    memset(hits, 0, sizeof(hits));
    for (int i = 0; i < 3 * nlive; i++) {
        struct packet p = {.random = (uint32_t)i};
        uint32_t index = run(length, &p);

        cr_assert_lt(index, (uint32_t)n);
        cr_assert(seats[index].live, "index %u of %d is not live", index, n);
        hits[index]++;
    }
    for (int i = 0; i < n; i++)
        cr_assert_eq(hits[i], seats[i].live ? 3 : 0);
}

Test(steer_prog, every_set_of_live_sockets)
{
    for (int n = 2; n <= 10; n++)
        for (unsigned mask = 1; mask < 1u << n; mask++)
            expect_even(build(BALANCE_RANDOM, group(n, mask)), n, __builtin_popcount(mask));
}

Test(steer_prog, leaves_to_the_kernel_what_it_does_as_well)
{
    for (enum balance_mode b = BALANCE_HASH; b <= BALANCE_CPU; b++) {
        cr_expect_eq(build(b, 0), 0);
        cr_expect_eq(build(b, group(1, 0)), 0);
        cr_expect_eq(build(b, group(1, 1)), 0);
        cr_expect_eq(build(b, group(4, 0)), 0);
        cr_expect_gt(build(b, group(4, 5)), 0);
        cr_expect_eq(build(b, group(4, 15)) > 0, b != BALANCE_HASH);
    }
}

/* ---- hash ---- */

enum { FLOWS = 8000 };

static void count(int length, const struct packet *p, int *hits)
{
    uint32_t index = run(length, p);

    cr_assert_lt(index, 8u);
    cr_assert(seats[index].live);
    hits[index]++;
}

/* Within a fifth of the mean: with 2,000 expected that is about nine standard deviations. */
static void expect_spread(const int *hits, int mean, const char *what)
{
    for (int i = 0; i < 8; i++)
        if (seats[i].live)
            cr_expect(abs(hits[i] - mean) < mean / 5, "%s: %d instead of %d", what, hits[i], mean);
}

/* One sender that counts its ports up by two, as Linux does, and many that use one port. */
Test(steer_prog, hash_spreads_ports_and_addresses)
{
    int length = build(BALANCE_HASH, group(8, 0xa5));
    int hits[5][8] = {0};

    for (int i = 0; i < FLOWS; i++) {
        unsigned port = (unsigned)(32768 + 2 * i) & 0xffff;
        char four[32], six[64];
        struct packet p[5];

        snprintf(four, sizeof(four), "10.0.%d.%d", i >> 8, i & 255);
        snprintf(six, sizeof(six), "2001:db8::%x:1", i);
        p[0] = ip4("127.0.0.1", port, 0);
        p[1] = ip4(four, 40000, 0);
        p[2] = ip4(four, 40000, 3);
        p[3] = ip6("::1", port);
        p[4] = ip6(six, 40000);
        for (int k = 0; k < 5; k++)
            count(length, &p[k], hits[k]);
    }
    for (int k = 0; k < 5; k++)
        expect_spread(hits[k], FLOWS / 4, "senders");
}

Test(steer_prog, hash_keeps_a_flow_together)
{
    int length = build(BALANCE_HASH, group(8, 0xa5));
    struct packet a = ip4("10.1.2.3", 40000, 0), b = ip4("10.1.2.3", 40000, 2), c = a;

    c.random = 7;
    c.cpu = 7;
    memset(c.net + 24, 0xff, 8); /* behind the ports */
    cr_expect_eq(run(length, &a), run(length, &b));
    cr_expect_eq(run(length, &a), run(length, &c));
}

/* Every byte of the sender's address counts, and the seed. */
static int count_changes(int length, const struct packet *base, int from, int size)
{
    int changes = 0;

    for (int i = 0; i < 8 * size; i++) {
        struct packet p = *base;

        p.net[from + i / 8] ^= (uint8_t)(1 << i % 8);
        changes += run(length, &p) != run(length, base);
    }
    return changes;
}

Test(steer_prog, every_byte_of_the_sender_counts)
{
    int length = build(BALANCE_HASH, group(MANY, 0)); /* nobody: no program */
    struct packet four = ip4("10.1.2.3", 40000, 0), six = ip6("2001:db8:1:2:3:4:5:6", 40000);
    uint32_t before;

    cr_assert_eq(length, 0);
    for (int i = 0; i < 1000; i++)
        seats[i].live = i > 0;
    length = build(BALANCE_HASH, 1000);
    for (int i = 0; i < 4; i++)
        cr_expect_geq(count_changes(length, &four, 12 + i, 1), 7);
    for (int i = 0; i < 16; i++)
        cr_expect_geq(count_changes(length, &six, 8 + i, 1), 7);
    cr_expect_geq(count_changes(length, &four, 20, 2), 14);
    cr_expect_geq(count_changes(length, &six, 40, 2), 14);
    before = run(length, &four);
    length = steer_prog_build(&(struct steer_plan){.balance = BALANCE_HASH}, seats, 1000, SEED + 1,
                              code);
    cr_expect_neq(run(length, &four), before);
}

/* ---- cpu ---- */

static int slot_on(int length, uint32_t cpu)
{
    struct packet p = {.cpu = cpu};

    return seats[run(length, &p)].slot;
}

Test(steer_prog, cpu_goes_to_the_slot_of_its_number)
{
    static const int slots[] = {2, 0, 3, 1}; /* the order in the group does not matter */
    int length;

    for (int i = 0; i < 4; i++)
        seats[i] = (struct steer_seat){.slot = slots[i], .live = true};
    length = build(BALANCE_CPU, 4);
    for (int cpu = 0; cpu < 16; cpu++)
        cr_expect_eq(slot_on(length, (uint32_t)cpu), cpu % 4);
}

Test(steer_prog, cpus_of_slots_that_are_not_live_go_to_the_others)
{
    int length = build(BALANCE_CPU, group(6, 0x2e)); /* slots 1, 2, 3 and 5 */
    static const int wanted[] = {1, 1, 2, 3, 1, 5};

    for (int cpu = 0; cpu < 6; cpu++)
        cr_expect_eq(slot_on(length, (uint32_t)cpu), wanted[cpu], "CPU %d", cpu);
}

/* Slots on the CPUs 2, 3, 6 and 7; other CPUs receive packets too. */
Test(steer_prog, cpus_that_slots_are_on)
{
    static const struct cpus cpus = {4, {2, 3, 6, 7}};
    static const struct {
        int nslots;
        unsigned live;
        int wanted[9];
    } cases[] = {
        {4, 15, {0, 1, 0, 1, 0, 1, 2, 3, 0}},
        {4, 11, {0, 1, 0, 1, 0, 1, 0, 3, 0}},
        {2, 3, {0, 1, 0, 1, 0, 1, 0, 1, 0}},
        {6, 63, {0, 1, 0, 1, 4, 5, 2, 3, 0}},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct steer_plan plan = {.balance = BALANCE_CPU, .cpus = &cpus};
        int length =
            steer_prog_build(&plan, seats, group(cases[i].nslots, cases[i].live), SEED, code);

        for (int cpu = 0; cpu < 9; cpu++)
            cr_expect_eq(slot_on(length, (uint32_t)cpu), cases[i].wanted[cpu],
                         "case %zu CPU %d: %d", i, cpu, slot_on(length, (uint32_t)cpu));
    }
}

/* Slot 1 has no socket here, and the socket at 2 nobody has told about. */
Test(steer_prog, cpu_with_gaps)
{
    int length;

    seats[0] = (struct steer_seat){.slot = 0, .live = true};
    seats[1] = (struct steer_seat){.slot = 2, .live = true};
    seats[2] = (struct steer_seat){.slot = -1};
    length = build(BALANCE_CPU, 3);
    cr_expect_eq(slot_on(length, 0), 0);
    cr_expect_eq(slot_on(length, 1), 2);
    cr_expect_eq(slot_on(length, 2), 2);
}

/* ---- many ---- */

Test(steer_prog, many_sockets)
{
    static const int dead[] = {0, 17, 2000, 4095};

    group(MANY, 0);
    for (int i = 0; i < MANY; i++)
        seats[i].live = true;
    for (size_t i = 0; i < ARRAY_SIZE(dead); i++)
        seats[dead[i]].live = false;
    expect_even(build(BALANCE_RANDOM, MANY), MANY, MANY - (int)ARRAY_SIZE(dead));
}

/* Neighbours are short, wherever they are: this is what starting and stopping in order makes. */
Test(steer_prog, neighbours)
{
    for (int first = 0; first < MANY; first += 455) {
        int length;

        for (int i = 0; i < MANY; i++)
            seats[i] = (struct steer_seat){.slot = i, .live = i >= first && i < first + 1000};
        length = build(BALANCE_RANDOM, MANY);
        cr_expect_leq(length, 8);
        expect_even(length, MANY, first + 1000 < MANY ? 1000 : MANY - first);
    }
}

Test(steer_prog, what_does_not_fit_is_refused)
{
    int n = MANY;

    /* Every other one: half of the lower half is missing, 1,024 exceptions. */
    for (int i = 0; i < MANY; i++)
        seats[i] = (struct steer_seat){.slot = i, .live = i % 2};
    expect_even(build(BALANCE_RANDOM, n), n, n / 2);
    cr_expect_gt(build(BALANCE_HASH, n), 0);
    /* As many slots, in the wrong order for their CPUs. */
    for (int i = 0; i < MANY; i++)
        seats[i] = (struct steer_seat){.slot = MANY - 1 - i, .live = true};
    cr_expect_eq(build(BALANCE_CPU, n), -E2BIG);
    cr_expect_eq(build(BALANCE_RANDOM, MANY + 1), -E2BIG);
    seats[0].slot = MANY;
    cr_expect_eq(build(BALANCE_RANDOM, 2), -E2BIG);
}
