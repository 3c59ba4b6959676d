// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The hooks quarry_os_on_each_cpu and _steps: a function runs in the place of every
 * CPU, so that what that CPU's pinned callers own (per-CPU magazines) can be taken
 * from elsewhere. By work on an online CPU; for an offline one by the caller itself,
 * hotplug being held off. At most 10 ms in all: a CPU that a real-time task
 * keeps is left out and counted.
 *
 * One caller at a time, since two of them could stand for one offline CPU.
 *
 * What is needed for it comes from a reserve: it is wanted most when there is no
 * memory. A block of it is out as long as a CPU has an abandoned visit pending;
 * only when all are out is memory asked for.
 */
#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/errno.h>
#include <linux/jiffies.h>
#include <linux/kref.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/overflow.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "each_cpu.h"
#include "include/quarry_seam.h"

#define QUARRY_EACH_CPU_MS 10
#define QUARRY_VISITS_RESERVED 4

/*
 * QUEUED -> RUNNING by the worker, QUEUED -> ABANDONED by the caller: one wins.
 * The worker leaves RUNNING without having been preempted, so the caller may
 * spin for it: to DONE, or to QUEUED when there is another step to make. Nothing of
 * the caller's is used in any other state.
 */
enum quarry_visit_state {
	QUARRY_VISIT_QUEUED,
	QUARRY_VISIT_RUNNING,
	QUARRY_VISIT_DONE,
	QUARRY_VISIT_ABANDONED,
};

struct quarry_visit {
	struct work_struct work;
	struct quarry_visits *all;
	atomic_t state;
	unsigned int cpu;
};

/* Lives until the caller and every worker have left it. */
struct quarry_visits {
	struct kref refs;
	struct completion done;
	atomic_t left;
	bool reserved;
	int (*fn)(void *arg, unsigned int cpu);
	void *arg;
	struct quarry_visit visit[];
};

static DEFINE_MUTEX(quarry_each_cpu_lock);
/* The module's own, so that its end waits for workers that were abandoned. */
static struct workqueue_struct *quarry_each_cpu_queue;

static DEFINE_SPINLOCK(quarry_visits_lock);
static struct quarry_core_reserve quarry_visits_reserve;
static void *quarry_visits_memory;

static size_t quarry_visits_bytes(void)
{
	return ALIGN(struct_size((struct quarry_visits *)NULL, visit, nr_cpu_ids), SMP_CACHE_BYTES);
}

int quarry_each_cpu_init(void)
{
	quarry_visits_memory = kvcalloc(QUARRY_VISITS_RESERVED, quarry_visits_bytes(), GFP_KERNEL);
	if (!quarry_visits_memory)
		return -ENOMEM;
	if (quarry_core_reserve_init(&quarry_visits_reserve, quarry_visits_memory,
				     quarry_visits_bytes(), QUARRY_VISITS_RESERVED))
		goto no_memory;
	quarry_each_cpu_queue = alloc_workqueue("quarry_each_cpu",
						WQ_PERCPU | WQ_HIGHPRI | WQ_MEM_RECLAIM, 0);
	if (quarry_each_cpu_queue)
		return 0;
no_memory:
	kvfree(quarry_visits_memory);
	return -ENOMEM;
}

/* After the last heap. */
void quarry_each_cpu_exit(void)
{
	destroy_workqueue(quarry_each_cpu_queue);
	kvfree(quarry_visits_memory);
}

/* Zeroed; NULL when the reserve is out and the system has no memory. */
static struct quarry_visits *quarry_visits_get(void)
{
	struct quarry_visits *all;

	spin_lock(&quarry_visits_lock);
	all = quarry_core_reserve_take(&quarry_visits_reserve);
	spin_unlock(&quarry_visits_lock);
	if (!all)
		return kzalloc(quarry_visits_bytes(), GFP_KERNEL | __GFP_NOWARN);
	memset(all, 0, quarry_visits_bytes());
	all->reserved = true;
	return all;
}

static void quarry_visits_free(struct kref *refs)
{
	struct quarry_visits *all = container_of(refs, struct quarry_visits, refs);
	int err;

	if (!all->reserved) {
		kfree(all);
		return;
	}
	spin_lock(&quarry_visits_lock);
	err = quarry_core_reserve_give(&quarry_visits_reserve, all);
	spin_unlock(&quarry_visits_lock);
	WARN_ON_ONCE(err);
}

static void quarry_visit_work(struct work_struct *work)
{
	struct quarry_visit *visit = container_of(work, struct quarry_visit, work);
	struct quarry_visits *all = visit->all;
	bool more;

	do {
		more = false;
		preempt_disable();
		/* Work may run elsewhere when its CPU goes away: then it visits nothing. */
		if (smp_processor_id() == visit->cpu &&
		    atomic_cmpxchg(&visit->state, QUARRY_VISIT_QUEUED, QUARRY_VISIT_RUNNING) ==
			    QUARRY_VISIT_QUEUED) {
			more = all->fn(all->arg, visit->cpu);
			atomic_set_release(&visit->state,
					   more ? QUARRY_VISIT_QUEUED : QUARRY_VISIT_DONE);
		}
		preempt_enable();
		if (more)
			cond_resched();
	} while (more);
	if (atomic_dec_and_test(&all->left))
		complete(&all->done);
	kref_put(&all->refs, quarry_visits_free);
}

/* False: the CPU was not visited to the end, and will not be. */
static bool quarry_visit_end(struct quarry_visit *visit)
{
	while (atomic_read_acquire(&visit->state) != QUARRY_VISIT_DONE) {
		if (atomic_cmpxchg(&visit->state, QUARRY_VISIT_QUEUED, QUARRY_VISIT_ABANDONED) ==
		    QUARRY_VISIT_QUEUED)
			return false;
		cpu_relax();
	}
	return true;
}

static void quarry_visit_here(int (*fn)(void *arg, unsigned int cpu), void *arg,
			      unsigned int cpu)
{
	int more;

	do {
		preempt_disable();
		more = fn(arg, cpu);
		preempt_enable();
		cond_resched();
	} while (more);
}

unsigned int quarry_os_on_each_cpu_steps(int (*fn)(void *arg, unsigned int cpu), void *arg)
{
	struct quarry_visits *all;
	unsigned int cpu, i, queued = 0, missed = 0;

	all = quarry_visits_get();

	mutex_lock(&quarry_each_cpu_lock);
	cpus_read_lock();
	if (all) {
		kref_init(&all->refs);
		init_completion(&all->done);
		atomic_set(&all->left, 1);
		all->fn = fn;
		all->arg = arg;
	}
	for_each_possible_cpu(cpu) {
		struct quarry_visit *visit;

		if (!cpu_online(cpu)) {
			quarry_visit_here(fn, arg, cpu);
			continue;
		}
		if (!all) {
			missed++;
			continue;
		}
		visit = &all->visit[queued++];
		visit->all = all;
		visit->cpu = cpu;
		INIT_WORK(&visit->work, quarry_visit_work);
		kref_get(&all->refs);
		atomic_inc(&all->left);
		queue_work_on(cpu, quarry_each_cpu_queue, &visit->work);
	}
	if (all) {
		if (!atomic_dec_and_test(&all->left))
			wait_for_completion_timeout(&all->done,
						    msecs_to_jiffies(QUARRY_EACH_CPU_MS));
		for (i = 0; i < queued; i++)
			missed += !quarry_visit_end(&all->visit[i]);
		kref_put(&all->refs, quarry_visits_free);
	}
	cpus_read_unlock();
	mutex_unlock(&quarry_each_cpu_lock);
	return missed;
}

struct quarry_once {
	void (*fn)(void *arg, unsigned int cpu);
	void *arg;
};

static int quarry_do_once(void *arg, unsigned int cpu)
{
	struct quarry_once *once = arg;

	once->fn(once->arg, cpu);
	return 0;
}

unsigned int quarry_os_on_each_cpu(void (*fn)(void *arg, unsigned int cpu), void *arg)
{
	struct quarry_once once = { .fn = fn, .arg = arg };

	return quarry_os_on_each_cpu_steps(quarry_do_once, &once);
}
