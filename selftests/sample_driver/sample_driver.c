// SPDX-License-Identifier: MIT
/*
 * A small network-like driver on Quarry, or on the kernel's own allocators: the example of a driver
 * whose objects are taken on one CPU, in a task, and given back on another, in a hard interrupt or a
 * softirq.
 *
 *   /dev/sample_driver   a write is a packet that is sent, up to 16 KiB; a read is the next packet
 *                        that came, in whatever order they come; both wait
 *
 * What is sent goes into a ring. The "device" is an interrupt on the last CPU: it takes packets
 * from the ring, receives each as a packet of its own, whose header comes from a reserve, so that it
 * cannot fail, and whose payload is copied to memory taken there and then; without any, the
 * packet comes with the payload that was sent. What was sent is freed there: of two packets one
 * in the hard interrupt, one in the tasklet behind it.
 *
 *   allocator=quarry   headers from a cache and a reserve on it, payloads from a heap
 *   allocator=kernel   kmem_cache, mempool and kmalloc, to compare with
 *
 * Parameters that can be read: sent, received, copied (with a payload of its own), drawn (headers
 * from the reserve), ns (spent in allocator calls).
 */
#include <linux/atomic.h>
#include <linux/fs.h>
#include <linux/interrupt.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/mempool.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <linux/quarry.h>

#define RING 256U		/* packets; a power of two */
#define MOST_BYTES (16U << 10)
#define RESERVED 64		/* headers for those that the device receives */

static char *allocator = "quarry";
module_param(allocator, charp, 0444);
MODULE_PARM_DESC(allocator, "quarry, or kernel to compare with");

static atomic64_t sent, received, copied, drawn, spent;

static int show(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%lld\n", atomic64_read((atomic64_t *)param->arg));
}

static const struct kernel_param_ops show_ops = { .get = show };

module_param_cb(sent, &show_ops, &sent, 0444);
module_param_cb(received, &show_ops, &received, 0444);
module_param_cb(copied, &show_ops, &copied, 0444);
module_param_cb(drawn, &show_ops, &drawn, 0444);
module_param_cb(ns, &show_ops, &spent, 0444);

struct packet {
	struct list_head link;
	void *payload;
	u32 bytes;
};

/* ---- where memory comes from ---- */

static bool on_quarry;
static struct quarry_cache *headers;
static struct quarry_reserve *reserve;
static struct quarry_heap *payloads;
static struct kmem_cache *kernel_headers;
static mempool_t *kernel_reserve;

static int open_memory(void)
{
	struct quarry_cache_config cache = { .name = "sample_headers", .size = sizeof(struct packet) };
	struct quarry_heap_config heap = { .name = "sample_payloads", .bytes = SZ_1M };

	if (!on_quarry) {
		kernel_headers = KMEM_CACHE(packet, 0);
		if (kernel_headers)
			kernel_reserve = mempool_create_slab_pool(RESERVED, kernel_headers);
		return kernel_reserve ? 0 : -ENOMEM;
	}
	headers = quarry_cache_create(&cache);
	if (IS_ERR(headers))
		return PTR_ERR(headers);
	reserve = quarry_reserve_create(headers, RESERVED);
	if (IS_ERR(reserve))
		return PTR_ERR(reserve);
	payloads = quarry_heap_create(&heap);
	return PTR_ERR_OR_ZERO(payloads);
}

/* A live object is a leak of this driver's: Quarry lists it. */
static void close_memory(void)
{
	mempool_destroy(kernel_reserve);
	kmem_cache_destroy(kernel_headers);
	quarry_reserve_destroy(reserve);
	WARN_ON(quarry_cache_destroy(headers));
	WARN_ON(quarry_heap_destroy(payloads));
}

static struct packet *take_header(gfp_t gfp, bool must)
{
	u64 start = ktime_get_ns();
	struct packet *packet;
	unsigned int left;

	if (!on_quarry) {
		packet = must ? mempool_alloc(kernel_reserve, gfp) : kmem_cache_alloc(kernel_headers, gfp);
	} else if (!must) {
		packet = quarry_cache_alloc(headers, gfp);
	} else {
		left = quarry_reserve_left(reserve);
		packet = quarry_reserve_alloc(reserve, gfp);
		if (quarry_reserve_left(reserve) < left)
			atomic64_inc(&drawn);
	}
	atomic64_add(ktime_get_ns() - start, &spent);
	return packet;
}

static void *take_payload(u32 bytes, gfp_t gfp)
{
	u64 start = ktime_get_ns();
	void *payload = on_quarry ? quarry_alloc(payloads, bytes, gfp) : kmalloc(bytes, gfp);

	atomic64_add(ktime_get_ns() - start, &spent);
	return payload;
}

static void give_payload(void *payload)
{
	if (on_quarry)
		WARN_ON_ONCE(quarry_free(payloads, payload));
	else
		kfree(payload);
}

static void give(struct packet *packet)
{
	u64 start = ktime_get_ns();

	give_payload(packet->payload);
	if (on_quarry)
		WARN_ON_ONCE(quarry_reserve_free(reserve, packet));
	else
		mempool_free(packet, kernel_reserve);
	atomic64_add(ktime_get_ns() - start, &spent);
}

/* ---- the device ---- */

static struct packet *ring[RING];
static unsigned int head, tail;		/* under ring_lock */
static DEFINE_SPINLOCK(ring_lock);
static DECLARE_WAIT_QUEUE_HEAD(room);

static LIST_HEAD(came);			/* under came_lock */
static DEFINE_SPINLOCK(came_lock);
static DECLARE_WAIT_QUEUE_HEAD(news);

static LIST_HEAD(done);			/* for the tasklet, under done_lock */
static DEFINE_SPINLOCK(done_lock);
static struct tasklet_struct finish;

static unsigned int device_cpu;
static call_single_data_t doorbell;
static atomic_t rung;			/* the doorbell is on its way: it is one, and must not be sent twice */
static void give_back_later(struct tasklet_struct *tasklet)
{
	struct packet *packet, *next;
	unsigned long flags;
	LIST_HEAD(mine);

	spin_lock_irqsave(&done_lock, flags);
	list_splice_init(&done, &mine);
	spin_unlock_irqrestore(&done_lock, flags);
	list_for_each_entry_safe(packet, next, &mine, link)
		give(packet);
}

static struct packet *next_of_ring(void)
{
	struct packet *packet = NULL;
	unsigned long flags;

	spin_lock_irqsave(&ring_lock, flags);
	if (head != tail)
		packet = ring[tail++ % RING];
	spin_unlock_irqrestore(&ring_lock, flags);
	return packet;
}

/* In a hard interrupt. What was sent comes back as a packet of its own. */
static void receive(struct packet *packet, bool in_tasklet)
{
	struct packet *fresh = take_header(GFP_ATOMIC, true);
	unsigned long flags;
	void *copy;

	/* More than the reserve are on their way, and the system has none: as it is. */
	if (!fresh) {
		spin_lock_irqsave(&came_lock, flags);
		list_add_tail(&packet->link, &came);
		spin_unlock_irqrestore(&came_lock, flags);
		return;
	}
	fresh->bytes = packet->bytes;
	copy = take_payload(packet->bytes, GFP_ATOMIC);
	if (copy) {
		memcpy(copy, packet->payload, packet->bytes);
		atomic64_inc(&copied);
	} else {
		copy = packet->payload;
		packet->payload = NULL;
	}
	fresh->payload = copy;
	spin_lock_irqsave(&came_lock, flags);
	list_add_tail(&fresh->link, &came);
	spin_unlock_irqrestore(&came_lock, flags);
	if (!in_tasklet) {
		give(packet);
		return;
	}
	spin_lock_irqsave(&done_lock, flags);
	list_add_tail(&packet->link, &done);
	spin_unlock_irqrestore(&done_lock, flags);
	tasklet_schedule(&finish);
}

static void interrupt(void *unused)
{
	struct packet *packet;
	unsigned int n = 0;

	/* Whoever puts something into the ring from here on rings again. */
	atomic_xchg(&rung, 0);
	while (n < RING && (packet = next_of_ring()))
		receive(packet, n++ % 2);
	if (!n)
		return;
	wake_up_interruptible(&room);
	wake_up_interruptible(&news);
}

static void ring_doorbell(void)
{
	unsigned long flags;

	if (atomic_xchg(&rung, 1))
		return;
	if (!smp_call_function_single_async(device_cpu, &doorbell))
		return;
	/* Its CPU has gone offline. */
	local_irq_save(flags);
	interrupt(NULL);
	local_irq_restore(flags);
}

static bool put_into_ring(struct packet *packet)
{
	unsigned long flags;
	bool fits;

	spin_lock_irqsave(&ring_lock, flags);
	fits = head - tail < RING;
	if (fits)
		ring[head++ % RING] = packet;
	spin_unlock_irqrestore(&ring_lock, flags);
	return fits;
}

static bool ring_is_empty(void)
{
	return READ_ONCE(head) == READ_ONCE(tail);
}

/* ---- the user's side ---- */

static ssize_t sample_write(struct file *file, const char __user *from, size_t bytes, loff_t *at)
{
	struct packet *packet;
	int err;

	if (!bytes || bytes > MOST_BYTES)
		return -EINVAL;
	packet = take_header(GFP_KERNEL, false);
	if (!packet)
		return -ENOMEM;
	packet->bytes = bytes;
	packet->payload = take_payload(bytes, GFP_KERNEL);
	err = packet->payload ? 0 : -ENOMEM;
	if (!err && copy_from_user(packet->payload, from, bytes))
		err = -EFAULT;
	if (!err)
		err = wait_event_interruptible(room, put_into_ring(packet));
	if (err) {
		give(packet);
		return err;
	}
	atomic64_inc(&sent);
	ring_doorbell();
	return bytes;
}

static struct packet *next_that_came(void)
{
	struct packet *packet;
	unsigned long flags;

	/* A doorbell that was rung while the last one was on its way. */
	if (!ring_is_empty())
		ring_doorbell();
	spin_lock_irqsave(&came_lock, flags);
	packet = list_first_entry_or_null(&came, struct packet, link);
	if (packet)
		list_del(&packet->link);
	spin_unlock_irqrestore(&came_lock, flags);
	return packet;
}

static ssize_t sample_read(struct file *file, char __user *to, size_t bytes, loff_t *at)
{
	struct packet *packet = NULL;
	ssize_t result;
	int err;

	err = wait_event_interruptible_timeout(news, (packet = next_that_came()), HZ / 10);
	if (err < 0)
		return err;
	if (!packet)
		return -EAGAIN;
	result = min_t(size_t, bytes, packet->bytes);
	if (copy_to_user(to, packet->payload, result))
		result = -EFAULT;
	give(packet);
	atomic64_inc(&received);
	return result;
}

static const struct file_operations sample_fops = {
	.owner = THIS_MODULE,
	.read = sample_read,
	.write = sample_write,
};

static struct miscdevice sample_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "sample_driver",
	.fops = &sample_fops,
};

static int __init sample_init(void)
{
	int err;

	on_quarry = !strcmp(allocator, "quarry");
	if (!on_quarry && strcmp(allocator, "kernel"))
		return -EINVAL;
	device_cpu = cpumask_last(cpu_online_mask);
	INIT_CSD(&doorbell, interrupt, NULL);
	tasklet_setup(&finish, give_back_later);
	err = open_memory();
	if (!err)
		err = misc_register(&sample_device);
	if (err)
		close_memory();
	return err;
}
module_init(sample_init);

static void __exit sample_exit(void)
{
	struct packet *packet;

	misc_deregister(&sample_device);
	/* The last doorbell has been answered when another call there has. */
	smp_call_function_single(device_cpu, interrupt, NULL, 1);
	tasklet_kill(&finish);
	while ((packet = next_of_ring()))
		give(packet);
	while ((packet = next_that_came()))
		give(packet);
	close_memory();
}
module_exit(sample_exit);

MODULE_DESCRIPTION("A network-like driver on Quarry");
MODULE_LICENSE("Dual MIT/GPL");
