/* A plugin of QEMU that counts what ran, block by block. It writes a line for each block of instructions
   that was translated: the addresses of its first and its last one, how often it began, and how often what
   ran next was not what lies behind it, so that its last instruction is a branch that was taken.

   Where a page ends in an instruction of Thumb's four bytes, the block before it ends early, and QEMU takes
   the two bytes that it looked at for some of the last instruction's.

   Built without QEMU's headers: these are the functions of version 1 of its interface that are used
   (docs.qemu.org, "QEMU TCG Plugins"). */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef uint64_t qemu_plugin_id_t;
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t,
                                                  void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *),
                                                 int flags, void *);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

struct block {
    uint64_t first, end, behind, count, taken;
    struct block *next;
};

static struct block *blocks, *last;
static char path[4096];

static void ran(unsigned cpu, void *data)
{
    struct block *block = data;
    (void)cpu;
    /* Nothing branches to the two bytes before the end of its own block. */
    if (last && last->behind != block->first && last->behind - 2 != block->first)
        ++last->taken;
    ++block->count;
    last = block;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    const size_t count = qemu_plugin_tb_n_insns(tb);
    const struct qemu_plugin_insn *end = qemu_plugin_tb_get_insn(tb, count - 1);
    struct block *block = calloc(1, sizeof *block);
    (void)id;
    if (!block)
        abort();
    block->first = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
    block->end = qemu_plugin_insn_vaddr(end);
    block->behind = block->end + qemu_plugin_insn_size(end);
    block->next = blocks;
    blocks = block;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, ran, 0, block);
}

static void ended(qemu_plugin_id_t id, void *data)
{
    FILE *file = fopen(path, "w");
    const struct block *block;
    (void)id;
    (void)data;
    if (!file)
        abort();
    for (block = blocks; block; block = block->next)
        if (block->count)
            fprintf(file, "%llx %llx %llu %llu\n", (unsigned long long)block->first,
                    (unsigned long long)block->end, (unsigned long long)block->count,
                    (unsigned long long)block->taken);
    fclose(file);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void *info,
                                                               int argc, char **argv)
{
    (void)info;
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0 || strlen(argv[0]) >= sizeof path)
        return 1;
    strcpy(path, argv[0] + 4);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
