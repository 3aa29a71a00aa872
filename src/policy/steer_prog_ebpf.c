#include "policy/steer_prog_ebpf.h"

#include "base/util.h"

/* Instructions -------------------------------------------------------------------------------- */

/* The calling convention: arguments in 1 to 5, results in 0; the program keeps what is in 6 to 9.
 */
enum { R0, R1, R2, R3, R4, R5, CONTEXT, KEY, FRAME = 10 };

/* How far below the frame pointer things are. */
enum { SLOT = 4, HEADER = 32, HEADER_READ = 24 };

#define INSN(op, dst, src, offset, value)                                                          \
    {                                                                                              \
        .code = (op), .dst_reg = (dst), .src_reg = (src), .off = (short)(offset), .imm = (value)   \
    }

#define MOVE(dst, src)   INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define SET(dst, value)  INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value)
#define ADD(dst, src)    INSN(BPF_ALU64 | BPF_ADD | BPF_X, dst, src, 0, 0)
#define ADD_K(dst, k)    INSN(BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, k)
#define DOUBLE(dst)      INSN(BPF_ALU64 | BPF_LSH | BPF_K, dst, 0, 0, 1)
#define AND32(dst, k)    INSN(BPF_ALU | BPF_AND | BPF_K, dst, 0, 0, (int)(k))
#define XOR32(dst, k)    INSN(BPF_ALU | BPF_XOR | BPF_K, dst, 0, 0, (int)(k))
#define FROM_NET(dst, n) INSN(BPF_ALU | BPF_END | BPF_TO_BE, dst, 0, 0, n) /* bits */
#define MODULO(dst, src) INSN(BPF_ALU | BPF_MOD | BPF_X, dst, src, 0, 0)   /* of 32 bits */

#define LOAD(size, dst, base, offset)  INSN(BPF_LDX | BPF_MEM | (size), dst, base, offset, 0)
#define STORE(size, base, offset, src) INSN(BPF_STX | BPF_MEM | (size), base, src, offset, 0)
#define FETCH_ADD(base, reg)           INSN(BPF_STX | BPF_ATOMIC | BPF_DW, base, reg, 0, BPF_ADD | BPF_FETCH)

/* `skip`: how many instructions. */
#define JUMP(skip)                  INSN(BPF_JMP | BPF_JA, 0, 0, skip, 0)
#define JUMP_UNLESS(dst, k, skip)   INSN(BPF_JMP | BPF_JNE | BPF_K, dst, 0, skip, k)
#define JUMP_ZERO(dst, skip)        INSN(BPF_JMP | BPF_JEQ | BPF_K, dst, 0, skip, 0)
#define JUMP_AT_LEAST(dst, k, skip) INSN(BPF_JMP | BPF_JGE | BPF_K, dst, 0, skip, k)

#define CALL(helper) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_##helper)
#define EXIT         INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

/* The address of a field of the table, and the map of sockets: two instructions each, whose first
 * gets the map's descriptor. */
#define TABLE(dst, field)                                                                          \
    INSN(BPF_LD | BPF_DW | BPF_IMM, dst, BPF_PSEUDO_MAP_VALUE, 0, 0),                              \
        INSN(0, 0, 0, 0, offsetof(struct steer_table, field))
#define SOCKETS(dst)                                                                               \
    INSN(BPF_LD | BPF_DW | BPF_IMM, dst, BPF_PSEUDO_MAP_FD, 0, 0), INSN(0, 0, 0, 0, 0)

/* The program --------------------------------------------------------------------------------- */

// clang-format off
static const struct bpf_insn begin[] = {
    MOVE(CONTEXT, R1),
};

/* A probe's slot goes into the place that the choice uses, and everything else on behind. A packet
 * that cannot be read is none: so it is with connections that move. */
static const struct bpf_insn probe_slot[] = {
    MOVE(R1, CONTEXT),
    SET(R2, 0),
    MOVE(R3, FRAME),
    ADD_K(R3, -HEADER),
    SET(R4, HEADER_READ),
    SET(R5, BPF_HDR_START_NET),
    CALL(skb_load_bytes_relative),
    JUMP_UNLESS(R0, 0, 18),
    LOAD(BPF_B, R1, FRAME, -HEADER),
    JUMP_AT_LEAST(R1, 0x60, 4), /* version 6, not 4 */

    LOAD(BPF_W, R1, FRAME, 12 - HEADER),
    FROM_NET(R1, 32),
    XOR32(R1, STEER_PROBE_IP4),
    JUMP(9),

    LOAD(BPF_DW, R1, FRAME, 8 - HEADER),
    JUMP_UNLESS(R1, 0, 10),
    LOAD(BPF_DW, R1, FRAME, 16 - HEADER),
    FROM_NET(R1, 64),
    JUMP_UNLESS(R1, 1, 7),
    LOAD(BPF_W, R1, FRAME, 0 - HEADER),
    FROM_NET(R1, 32),
    AND32(R1, STEER_PROBE_IP6_MASK),
    XOR32(R1, STEER_PROBE_IP6_WORD),

    JUMP_AT_LEAST(R1, STEER_SEATS_MAX, 2),
    STORE(BPF_W, FRAME, -SLOT, R1),
    JUMP(0),
};

/* The hash is that of the kernel, which nobody outside can foresee. */
static const struct bpf_insn hash_key[] = {
    LOAD(BPF_W, KEY, CONTEXT, offsetof(struct sk_reuseport_md, hash)),
};

static const struct bpf_insn random_key[] = {
    CALL(get_prandom_u32),
    MOVE(KEY, R0),
};

static const struct bpf_insn cpu_key[] = {
    CALL(get_smp_processor_id),
    MOVE(KEY, R0),
};

static const struct bpf_insn turn_key[] = {
    TABLE(R1, turn),
    SET(KEY, 1),
    FETCH_ADD(R1, KEY),
};

/* slots[key % n], or nobody. The second comparison is for the verifier, which does not know the
 * range of a remainder. */
enum { SELECT_AT = 12 };
static const struct bpf_insn choose[] = {
    TABLE(R1, n),
    LOAD(BPF_W, R2, R1, 0),
    JUMP_ZERO(R2, 15),
    MODULO(KEY, R2),
    JUMP_AT_LEAST(KEY, STEER_SEATS_MAX, 13),
    DOUBLE(KEY),
    TABLE(R1, slots),
    ADD(R1, KEY),
    LOAD(BPF_H, R1, R1, 0),
    STORE(BPF_W, FRAME, -SLOT, R1),

    MOVE(R1, CONTEXT), /* SELECT_AT */
    SOCKETS(R2),
    MOVE(R3, FRAME),
    ADD_K(R3, -SLOT),
    SET(R4, 0),
    CALL(sk_select_reuseport),

    SET(R0, SK_PASS),
    EXIT,
};
// clang-format on

static const struct {
    const struct bpf_insn *code;
    int n;
} keys[] = {
    [BALANCE_HASH] = {hash_key, ARRAY_SIZE(hash_key)},
    [BALANCE_RANDOM] = {random_key, ARRAY_SIZE(random_key)},
    [BALANCE_ROUND_ROBIN] = {turn_key, ARRAY_SIZE(turn_key)},
    [BALANCE_CPU] = {cpu_key, ARRAY_SIZE(cpu_key)},
};

struct writer {
    struct bpf_insn *code;
    int n;
    int table_fd, sockets_fd;
};

static void put(struct writer *w, const struct bpf_insn *code, int n)
{
    for (int i = 0; i < n; i++) {
        struct bpf_insn *to = &w->code[w->n++];

        *to = code[i];
        if (to->code != (BPF_LD | BPF_DW | BPF_IMM))
            continue;
        to->imm = to->src_reg == BPF_PSEUDO_MAP_VALUE ? w->table_fd : w->sockets_fd;
    }
}

/* The last instruction jumps to the selection, past the key and the choice. */
static void put_probes(struct writer *w, int nkey)
{
    put(w, probe_slot, ARRAY_SIZE(probe_slot));
    w->code[w->n - 1].off = (short)(nkey + SELECT_AT);
}

int steer_prog_ebpf_build(const struct steer_plan *plan, int table_fd, int sockets_fd,
                          struct bpf_insn code[STEER_EBPF_MAX])
{
    struct writer w = {.code = code, .table_fd = table_fd, .sockets_fd = sockets_fd};

    put(&w, begin, ARRAY_SIZE(begin));
    if (plan->probes)
        put_probes(&w, keys[plan->balance].n);
    put(&w, keys[plan->balance].code, keys[plan->balance].n);
    put(&w, choose, ARRAY_SIZE(choose));
    return w.n;
}

/* The table ----------------------------------------------------------------------------------- */

int steer_table_build(const struct steer_plan *plan, const struct steer_seat *seats, int n,
                      uint16_t slots[STEER_SEATS_MAX])
{
    int nlive = steer_count_live(seats, n), count = 0;

    if (nlive <= 0)
        return nlive;
    if (plan->balance == BALANCE_CPU)
        return steer_slots_by_cpu(plan->cpus, seats, n, slots);
    for (int i = 0; i < n; i++)
        if (seats[i].live)
            slots[count++] = (uint16_t)seats[i].slot;
    return count;
}
