/* What the program does is seen in test_steer, on sockets; this is what it is made of. */
#include "policy/steer_prog_ebpf.h"

#include <criterion/criterion.h>

#include "base/util.h"

enum { TABLE_FD = 71, SOCKETS_FD = 72 };

static struct steer_seat seats[STEER_SEATS_MAX + 1];
static uint16_t slots[STEER_SEATS_MAX];

/* Seat i is that of slot i, and live by bit i. */
static int group(int n, unsigned mask)
{
    for (int i = 0; i < n; i++)
        seats[i] = (struct steer_seat){.slot = i, .live = i < 32 && mask >> i & 1};
    return n;
}

static int table(enum balance_mode balance, int n)
{
    return steer_table_build(&(struct steer_plan){.balance = balance}, seats, n, slots);
}

Test(steer_prog_ebpf, each_live_slot_once)
{
    for (enum balance_mode b = BALANCE_HASH; b <= BALANCE_ROUND_ROBIN; b++)
        for (unsigned mask = 0; mask < 256; mask++) {
            unsigned seen = 0;
            int n = table(b, group(8, mask));

            cr_assert_eq(n, __builtin_popcount(mask));
            for (int i = 0; i < n; i++)
                seen |= 1u << slots[i];
            cr_assert_eq(seen, mask);
        }
}

Test(steer_prog_ebpf, slots_and_not_places)
{
    seats[0] = (struct steer_seat){.slot = 3, .live = true};
    seats[1] = (struct steer_seat){.slot = -1};
    seats[2] = (struct steer_seat){.slot = 0, .live = true};
    cr_assert_eq(table(BALANCE_RANDOM, 3), 2);
    cr_expect_eq(slots[0], 3);
    cr_expect_eq(slots[1], 0);
}

Test(steer_prog_ebpf, cpus)
{
    static const int wanted[] = {1, 1, 2, 3, 1, 5};

    cr_assert_eq(table(BALANCE_CPU, group(6, 0x2e)), 6);
    for (int cpu = 0; cpu < 6; cpu++)
        cr_expect_eq(slots[cpu], wanted[cpu], "CPU %d", cpu);
    cr_expect_eq(table(BALANCE_CPU, group(6, 0)), 0);
}

Test(steer_prog_ebpf, as_many_as_there_may_be)
{
    group(STEER_SEATS_MAX + 1, 0);
    for (int i = 0; i < STEER_SEATS_MAX; i++)
        seats[i].live = true;
    cr_expect_eq(table(BALANCE_HASH, STEER_SEATS_MAX), STEER_SEATS_MAX);
    cr_expect_eq(slots[STEER_SEATS_MAX - 1], STEER_SEATS_MAX - 1);
    cr_expect_eq(table(BALANCE_HASH, STEER_SEATS_MAX + 1), -E2BIG);
    seats[0].slot = STEER_SEATS_MAX;
    cr_expect_eq(table(BALANCE_HASH, 1), -E2BIG);
}

/* Where a jump goes; itself when it is none. */
static int target(const struct bpf_insn *code, int i)
{
    bool jumps = BPF_CLASS(code[i].code) == BPF_JMP && BPF_OP(code[i].code) != BPF_CALL &&
                 BPF_OP(code[i].code) != BPF_EXIT;

    return jumps ? i + 1 + code[i].off : i;
}

Test(steer_prog_ebpf, program)
{
    struct bpf_insn code[STEER_EBPF_MAX];

    for (enum balance_mode b = BALANCE_HASH; b <= BALANCE_CPU; b++) {
        const struct steer_plan plan = {.balance = b};
        int n = steer_prog_ebpf_build(&plan, TABLE_FD, SOCKETS_FD, code);
        int tables = 0, sockets = 0;

        cr_assert(n > 0 && n <= STEER_EBPF_MAX);
        cr_expect_eq(code[n - 1].code, BPF_JMP | BPF_EXIT);
        for (int i = 0; i < n; i++) {
            int to = target(code, i);

            cr_expect(to == i || to == n - 2, "%d jumps to %d and not to the common end", i, to);
            if (code[i].code != (BPF_LD | BPF_DW | BPF_IMM))
                continue;
            tables += code[i].src_reg == BPF_PSEUDO_MAP_VALUE && code[i].imm == TABLE_FD;
            sockets += code[i].src_reg == BPF_PSEUDO_MAP_FD && code[i].imm == SOCKETS_FD;
            i++;
        }
        cr_expect_eq(tables, b == BALANCE_ROUND_ROBIN ? 3 : 2);
        cr_expect_eq(sockets, 1);
    }
}
