// SPDX-License-Identifier: MIT
/*
 * A driver that allocates and frees in NMIs, while tasks on both CPUs do the same with the same cache: what
 * selftests/vm/nmi.py drives. NMIs come from outside (QEMU's `nmi`), between any two instructions.
 *
 * It does its work when it is loaded, until `nmis` of them have come or `seconds` have passed, and
 * then says what happened, in one line of the log:
 *
 *   nmi_driver: NMIS nmis, INSIDE inside quarry, TAKEN taken, NONE none, FREED freed, LOOPS loops, WRONG wrong
 */
#include <linux/atomic.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/kallsyms.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/ptrace.h>
#include <linux/quarry.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <asm/nmi.h>

#define OBJECT 64
#define HELD 48
#define BURST 300	/* more than one array of a magazine, so that they change places and go home */

static unsigned int nmis = 2000;
module_param(nmis, uint, 0444);
MODULE_PARM_DESC(nmis, "how many NMIs to wait for");

static unsigned int seconds = 60;
module_param(seconds, uint, 0444);
MODULE_PARM_DESC(seconds, "and for how long at most");

static bool plant;
module_param(plant, bool, 0444);
MODULE_PARM_DESC(plant, "lose an object: what looks for one has to say so");

static struct quarry_cache *cache;
static struct quarry_heap *heap;
static void *large;		/* pages, which no NMI may free */
static void *ours[HELD];	/* what NMIs have taken; of CPU 0 alone */
static unsigned int held;
static unsigned int seen, inside, taken, none, freed, wrong;
static atomic64_t loops, broken;

/* Whoever has an object marks all of it. */
static void mark(void *object, u8 with)
{
	memset(object, with, OBJECT);
}

static bool is_marked(void *object, u8 with)
{
	return !memchr_inv(object, with, OBJECT);
}

static void take(void)
{
	void *object = quarry_cache_alloc(cache, GFP_NOWAIT);

	if (!object) {
		none++;
		return;
	}
	taken++;
	mark(object, 0xee);
	ours[held++] = object;
}

static void give(void)
{
	void *object = ours[--held];

	wrong += !is_marked(object, 0xee);
	wrong += quarry_cache_free(cache, object) != 0;
	freed++;
}

/* What must not be done here is refused, and changes nothing. */
static void try_wrong_calls(void)
{
	wrong += quarry_alloc(heap, SZ_64K, GFP_NOWAIT) != NULL;
	wrong += quarry_free(heap, large) != -EOPNOTSUPP;
	if (held)
		wrong += quarry_cache_free(cache, ours[held - 1] + 8) != -EBADSLT;
}

static int on_nmi(unsigned int type, struct pt_regs *regs)
{
	char name[KSYM_SYMBOL_LEN];
	unsigned int i;

	if (raw_smp_processor_id() != 0)
		return NMI_DONE;
	seen++;
	if (!user_mode(regs)) {
		sprint_symbol(name, instruction_pointer(regs));
		inside += strstr(name, "[quarry]") != NULL;
	}
	if (seen % 64 == 0)
		try_wrong_calls();
	for (i = 0; i < 4 && held < HELD; i++)
		take();
	while (held > HELD / 2)
		give();
	return NMI_HANDLED;
}

static int work(void *unused)
{
	static void *objects[2][BURST];
	void **mine = objects[smp_processor_id()];
	u8 with = 1 + smp_processor_id();
	unsigned int i, n;

	while (!kthread_should_stop()) {
		for (i = 0; i < 2000; i++) {
			void *object = quarry_cache_alloc(cache, GFP_KERNEL);

			if (object) {
				mark(object, with);
				if (!is_marked(object, with) || quarry_cache_free(cache, object))
					atomic64_inc(&broken);
			}
		}
		for (n = 0; n < BURST; n++) {
			mine[n] = quarry_cache_alloc(cache, GFP_KERNEL);
			if (!mine[n])
				break;
			mark(mine[n], with);
		}
		for (i = 0; i < n; i++)
			if (!is_marked(mine[i], with) || quarry_cache_free(cache, mine[i]))
				atomic64_inc(&broken);
		n = quarry_cache_alloc_bulk(cache, GFP_KERNEL, BURST, mine);
		if (quarry_cache_free_bulk(cache, n, mine))
			atomic64_inc(&broken);
		atomic64_inc(&loops);
		cond_resched();
	}
	return 0;
}

static int run(void)
{
	struct task_struct *tasks[2] = {};
	unsigned long end = jiffies + seconds * HZ;
	int cpu, err;

	err = register_nmi_handler(NMI_LOCAL, on_nmi, 0, "nmi_driver");
	if (err)
		return err;
	for (cpu = 0; cpu < 2 && !err; cpu++) {
		tasks[cpu] = kthread_create(work, NULL, "nmi_driver/%d", cpu);
		if (IS_ERR(tasks[cpu])) {
			err = PTR_ERR(tasks[cpu]);
			tasks[cpu] = NULL;
			break;
		}
		kthread_bind(tasks[cpu], cpu);
		wake_up_process(tasks[cpu]);
	}
	/* Somebody may send them from here on. */
	pr_info("nmi_driver: ready\n");
	while (!err && READ_ONCE(seen) < nmis && time_before(jiffies, end))
		msleep(20);
	for (cpu = 0; cpu < 2; cpu++)
		if (tasks[cpu])
			kthread_stop(tasks[cpu]);
	unregister_nmi_handler(NMI_LOCAL, "nmi_driver");
	return err;
}

static int __init nmi_driver_init(void)
{
	struct quarry_cache_config config = { .name = "nmi", .size = OBJECT, .objects = 4096 };
	struct quarry_heap_config any = { .name = "nmi_heap", .bytes = SZ_1M };
	int err;

	if (num_online_cpus() < 2)
		return -ENODEV;
	cache = quarry_cache_create(&config);
	if (IS_ERR(cache))
		return PTR_ERR(cache);
	heap = quarry_heap_create(&any);
	if (IS_ERR(heap)) {
		quarry_cache_destroy(cache);
		return PTR_ERR(heap);
	}
	large = quarry_alloc(heap, SZ_64K, GFP_KERNEL);
	err = large ? run() : -ENOMEM;
	if (plant && held)
		held--;
	while (held)
		give();
	wrong += atomic64_read(&broken);
	wrong += quarry_free(heap, large) != 0;
	wrong += quarry_heap_verify(heap, true) != 0;
	wrong += quarry_heap_verify(quarry_cache_heap(cache), true) != 0;
	wrong += quarry_heap_destroy(heap) != 0;
	/* An object that is lost would be live still. */
	wrong += quarry_cache_destroy(cache) != 0;
	pr_info("nmi_driver: %u nmis, %u inside quarry, %u taken, %u none, %u freed, %lld loops, %u wrong\n",
		seen, inside, taken, none, freed, atomic64_read(&loops), wrong);
	return err;
}
module_init(nmi_driver_init);

static void __exit nmi_driver_exit(void)
{
}
module_exit(nmi_driver_exit);

MODULE_DESCRIPTION("Allocates and frees in NMIs");
MODULE_LICENSE("Dual MIT/GPL");
