/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The ABI's layout in numbers: size of each structure, offset and size of each field, and
 * that no byte of a structure lies between two fields. Included by each side that is
 * compiled apart (the module, libquarry in C and in C++, the test programs for 64 and for
 * 32 bits): what one compiler would lay out otherwise does not compile there.
 *
 * An ABI only grows at its structures' ends and by reserved fields: a number here that has
 * to be changed breaks every program that was built before.
 */
#ifndef QUARRY_ABI_LAYOUT_H
#define QUARRY_ABI_LAYOUT_H

#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/stddef.h>
#include <uapi/linux/quarry.h>
#else
#include <assert.h>
#include <stddef.h>
#include <linux/quarry.h>
#endif

#define QUARRY_ABI_FIELD(type, name, at, bytes)						\
	static_assert(offsetof(struct type, name) == (at) &&				\
		      sizeof(((struct type *)0)->name) == (bytes), #type "." #name)
/* The last field ends where the structure does. */
#define QUARRY_ABI_STRUCT(type, bytes, last)						\
	static_assert(sizeof(struct type) == (bytes) &&					\
		      offsetof(struct type, last) +					\
		      sizeof(((struct type *)0)->last) == (bytes), #type)

QUARRY_ABI_STRUCT(quarry_info, 360, reserved);
QUARRY_ABI_FIELD(quarry_info, size, 0, 4);
QUARRY_ABI_FIELD(quarry_info, flags, 4, 4);
QUARRY_ABI_FIELD(quarry_info, abi_version, 8, 4);
QUARRY_ABI_FIELD(quarry_info, cpus, 12, 4);
QUARRY_ABI_FIELD(quarry_info, features, 16, 8);
QUARRY_ABI_FIELD(quarry_info, page_size, 24, 4);
QUARRY_ABI_FIELD(quarry_info, class_count, 28, 4);
QUARRY_ABI_FIELD(quarry_info, class_size, 32, 256);
QUARRY_ABI_FIELD(quarry_info, max_object, 288, 8);
QUARRY_ABI_FIELD(quarry_info, max_pool, 296, 8);
QUARRY_ABI_FIELD(quarry_info, max_batch, 304, 4);
QUARRY_ABI_FIELD(quarry_info, max_clients, 308, 4);
QUARRY_ABI_FIELD(quarry_info, max_user_bytes, 312, 8);
QUARRY_ABI_FIELD(quarry_info, max_user_pools, 320, 4);
QUARRY_ABI_FIELD(quarry_info, max_user_clients, 324, 4);
QUARRY_ABI_FIELD(quarry_info, reserved, 328, 32);

QUARRY_ABI_STRUCT(quarry_pool_create, 184, reserved);
QUARRY_ABI_FIELD(quarry_pool_create, size, 0, 4);
QUARRY_ABI_FIELD(quarry_pool_create, flags, 4, 4);
QUARRY_ABI_FIELD(quarry_pool_create, kind, 8, 4);
QUARRY_ABI_FIELD(quarry_pool_create, zone, 12, 4);
QUARRY_ABI_FIELD(quarry_pool_create, node, 16, 4);
QUARRY_ABI_FIELD(quarry_pool_create, fd_flags, 20, 4);
QUARRY_ABI_FIELD(quarry_pool_create, bytes, 24, 8);
QUARRY_ABI_FIELD(quarry_pool_create, max_bytes, 32, 8);
QUARRY_ABI_FIELD(quarry_pool_create, object_size, 40, 8);
QUARRY_ABI_FIELD(quarry_pool_create, object_count, 48, 8);
QUARRY_ABI_FIELD(quarry_pool_create, client_limit, 56, 8);
QUARRY_ABI_FIELD(quarry_pool_create, name, 64, 32);
QUARRY_ABI_FIELD(quarry_pool_create, fd, 96, 4);
QUARRY_ABI_FIELD(quarry_pool_create, client_area_bytes, 100, 4);
QUARRY_ABI_FIELD(quarry_pool_create, pool_id, 104, 8);
QUARRY_ABI_FIELD(quarry_pool_create, client_id, 112, 8);
QUARRY_ABI_FIELD(quarry_pool_create, granule, 120, 8);
QUARRY_ABI_FIELD(quarry_pool_create, max_ranges, 128, 8);
QUARRY_ABI_FIELD(quarry_pool_create, range_align, 136, 24);
QUARRY_ABI_FIELD(quarry_pool_create, reserved, 160, 24);

QUARRY_ABI_STRUCT(quarry_join, 96, reserved);
QUARRY_ABI_FIELD(quarry_join, size, 0, 4);
QUARRY_ABI_FIELD(quarry_join, flags, 4, 4);
QUARRY_ABI_FIELD(quarry_join, fd_flags, 8, 4);
QUARRY_ABI_FIELD(quarry_join, kind, 12, 4);
QUARRY_ABI_FIELD(quarry_join, fd, 16, 4);
QUARRY_ABI_FIELD(quarry_join, client_area_bytes, 20, 4);
QUARRY_ABI_FIELD(quarry_join, max_bytes, 24, 8);
QUARRY_ABI_FIELD(quarry_join, pool_id, 32, 8);
QUARRY_ABI_FIELD(quarry_join, client_id, 40, 8);
QUARRY_ABI_FIELD(quarry_join, object_size, 48, 8);
QUARRY_ABI_FIELD(quarry_join, object_count, 56, 8);
QUARRY_ABI_FIELD(quarry_join, reserved, 64, 32);

QUARRY_ABI_STRUCT(quarry_alloc, 48, offsets);
QUARRY_ABI_FIELD(quarry_alloc, size, 0, 4);
QUARRY_ABI_FIELD(quarry_alloc, flags, 4, 4);
QUARRY_ABI_FIELD(quarry_alloc, object_size, 8, 8);
QUARRY_ABI_FIELD(quarry_alloc, align, 16, 8);
QUARRY_ABI_FIELD(quarry_alloc, count, 24, 4);
QUARRY_ABI_FIELD(quarry_alloc, done, 28, 4);
QUARRY_ABI_FIELD(quarry_alloc, error, 32, 4);
QUARRY_ABI_FIELD(quarry_alloc, reserved, 36, 4);
QUARRY_ABI_FIELD(quarry_alloc, offsets, 40, 8);

QUARRY_ABI_STRUCT(quarry_reservation, 32, left);
QUARRY_ABI_FIELD(quarry_reservation, size, 0, 4);
QUARRY_ABI_FIELD(quarry_reservation, flags, 4, 4);
QUARRY_ABI_FIELD(quarry_reservation, object_size, 8, 8);
QUARRY_ABI_FIELD(quarry_reservation, align, 16, 8);
QUARRY_ABI_FIELD(quarry_reservation, count, 24, 4);
QUARRY_ABI_FIELD(quarry_reservation, left, 28, 4);

QUARRY_ABI_STRUCT(quarry_free, 32, offsets);
QUARRY_ABI_FIELD(quarry_free, size, 0, 4);
QUARRY_ABI_FIELD(quarry_free, flags, 4, 4);
QUARRY_ABI_FIELD(quarry_free, count, 8, 4);
QUARRY_ABI_FIELD(quarry_free, done, 12, 4);
QUARRY_ABI_FIELD(quarry_free, error, 16, 4);
QUARRY_ABI_FIELD(quarry_free, reserved, 20, 4);
QUARRY_ABI_FIELD(quarry_free, offsets, 24, 8);

QUARRY_ABI_STRUCT(quarry_transfer, 40, offsets);
QUARRY_ABI_FIELD(quarry_transfer, size, 0, 4);
QUARRY_ABI_FIELD(quarry_transfer, flags, 4, 4);
QUARRY_ABI_FIELD(quarry_transfer, to_client, 8, 8);
QUARRY_ABI_FIELD(quarry_transfer, count, 16, 4);
QUARRY_ABI_FIELD(quarry_transfer, done, 20, 4);
QUARRY_ABI_FIELD(quarry_transfer, error, 24, 4);
QUARRY_ABI_FIELD(quarry_transfer, reserved, 28, 4);
QUARRY_ABI_FIELD(quarry_transfer, offsets, 32, 8);

QUARRY_ABI_STRUCT(quarry_resize, 32, bytes);
QUARRY_ABI_FIELD(quarry_resize, size, 0, 4);
QUARRY_ABI_FIELD(quarry_resize, flags, 4, 4);
QUARRY_ABI_FIELD(quarry_resize, offset, 8, 8);
QUARRY_ABI_FIELD(quarry_resize, object_size, 16, 8);
QUARRY_ABI_FIELD(quarry_resize, bytes, 24, 8);

QUARRY_ABI_STRUCT(quarry_region, 40, reserved);
QUARRY_ABI_FIELD(quarry_region, size, 0, 4);
QUARRY_ABI_FIELD(quarry_region, flags, 4, 4);
QUARRY_ABI_FIELD(quarry_region, zone, 8, 4);
QUARRY_ABI_FIELD(quarry_region, node, 12, 4);
QUARRY_ABI_FIELD(quarry_region, bytes, 16, 8);
QUARRY_ABI_FIELD(quarry_region, offset, 24, 8);
QUARRY_ABI_FIELD(quarry_region, regions, 32, 4);
QUARRY_ABI_FIELD(quarry_region, reserved, 36, 4);

QUARRY_ABI_STRUCT(quarry_drain, 24, slabs);
QUARRY_ABI_FIELD(quarry_drain, size, 0, 4);
QUARRY_ABI_FIELD(quarry_drain, flags, 4, 4);
QUARRY_ABI_FIELD(quarry_drain, slots, 8, 8);
QUARRY_ABI_FIELD(quarry_drain, slabs, 16, 8);

QUARRY_ABI_STRUCT(quarry_class_stat, 24, free);
QUARRY_ABI_FIELD(quarry_class_stat, size, 0, 4);
QUARRY_ABI_FIELD(quarry_class_stat, slabs, 4, 4);
QUARRY_ABI_FIELD(quarry_class_stat, live, 8, 8);
QUARRY_ABI_FIELD(quarry_class_stat, free, 16, 8);

QUARRY_ABI_STRUCT(quarry_stat, 296, reserved);
QUARRY_ABI_FIELD(quarry_stat, size, 0, 4);
QUARRY_ABI_FIELD(quarry_stat, flags, 4, 4);
QUARRY_ABI_FIELD(quarry_stat, classes, 8, 8);
QUARRY_ABI_FIELD(quarry_stat, class_count, 16, 4);
QUARRY_ABI_FIELD(quarry_stat, events, 20, 4);
QUARRY_ABI_FIELD(quarry_stat, pool_id, 24, 8);
QUARRY_ABI_FIELD(quarry_stat, kind, 32, 4);
QUARRY_ABI_FIELD(quarry_stat, clients, 36, 4);
QUARRY_ABI_FIELD(quarry_stat, max_bytes, 40, 8);
QUARRY_ABI_FIELD(quarry_stat, bytes, 48, 8);
QUARRY_ABI_FIELD(quarry_stat, free_bytes, 56, 8);
QUARRY_ABI_FIELD(quarry_stat, used_bytes, 64, 8);
QUARRY_ABI_FIELD(quarry_stat, objects, 72, 8);
QUARRY_ABI_FIELD(quarry_stat, meta_bytes, 80, 8);
QUARRY_ABI_FIELD(quarry_stat, regions, 88, 4);
QUARRY_ABI_FIELD(quarry_stat, slabs, 92, 4);
QUARRY_ABI_FIELD(quarry_stat, allocs, 96, 8);
QUARRY_ABI_FIELD(quarry_stat, frees, 104, 8);
QUARRY_ABI_FIELD(quarry_stat, refused, 112, 8);
QUARRY_ABI_FIELD(quarry_stat, reaps, 120, 8);
QUARRY_ABI_FIELD(quarry_stat, late_reaps, 128, 8);
QUARRY_ABI_FIELD(quarry_stat, reaped_objects, 136, 8);
QUARRY_ABI_FIELD(quarry_stat, reaped_bytes, 144, 8);
QUARRY_ABI_FIELD(quarry_stat, transfers, 152, 8);
QUARRY_ABI_FIELD(quarry_stat, corruptions, 160, 8);
QUARRY_ABI_FIELD(quarry_stat, client_id, 168, 8);
QUARRY_ABI_FIELD(quarry_stat, client_objects, 176, 8);
QUARRY_ABI_FIELD(quarry_stat, client_bytes, 184, 8);
QUARRY_ABI_FIELD(quarry_stat, client_limit, 192, 8);
QUARRY_ABI_FIELD(quarry_stat, name, 200, 32);
QUARRY_ABI_FIELD(quarry_stat, refills, 232, 8);
QUARRY_ABI_FIELD(quarry_stat, flushes, 240, 8);
QUARRY_ABI_FIELD(quarry_stat, magazine_bytes, 248, 8);
QUARRY_ABI_FIELD(quarry_stat, unreachable, 256, 8);
QUARRY_ABI_FIELD(quarry_stat, shares, 264, 8);
QUARRY_ABI_FIELD(quarry_stat, held_bytes, 272, 8);
QUARRY_ABI_FIELD(quarry_stat, reserve_objects, 280, 8);
QUARRY_ABI_FIELD(quarry_stat, reserved, 288, 8);

QUARRY_ABI_STRUCT(quarry_verify, 112, first);
QUARRY_ABI_FIELD(quarry_verify, size, 0, 4);
QUARRY_ABI_FIELD(quarry_verify, flags, 4, 4);
QUARRY_ABI_FIELD(quarry_verify, faults, 8, 8);
QUARRY_ABI_FIELD(quarry_verify, first_offset, 16, 8);
QUARRY_ABI_FIELD(quarry_verify, pages, 24, 8);
QUARRY_ABI_FIELD(quarry_verify, slabs, 32, 8);
QUARRY_ABI_FIELD(quarry_verify, objects, 40, 8);
QUARRY_ABI_FIELD(quarry_verify, first, 48, 64);

QUARRY_ABI_STRUCT(quarry_refill, 24, offset);
QUARRY_ABI_FIELD(quarry_refill, size, 0, 4);
QUARRY_ABI_FIELD(quarry_refill, flags, 4, 4);
QUARRY_ABI_FIELD(quarry_refill, class_index, 8, 4);
QUARRY_ABI_FIELD(quarry_refill, filled, 12, 4);
QUARRY_ABI_FIELD(quarry_refill, offset, 16, 8);

QUARRY_ABI_STRUCT(quarry_flush, 40, bad_offset);
QUARRY_ABI_FIELD(quarry_flush, size, 0, 4);
QUARRY_ABI_FIELD(quarry_flush, flags, 4, 4);
QUARRY_ABI_FIELD(quarry_flush, class_index, 8, 4);
QUARRY_ABI_FIELD(quarry_flush, drained, 12, 4);
QUARRY_ABI_FIELD(quarry_flush, offset, 16, 8);
QUARRY_ABI_FIELD(quarry_flush, bad, 24, 4);
QUARRY_ABI_FIELD(quarry_flush, bad_error, 28, 4);
QUARRY_ABI_FIELD(quarry_flush, bad_offset, 32, 8);

QUARRY_ABI_STRUCT(quarry_magazine, 16, reserved);
QUARRY_ABI_FIELD(quarry_magazine, top, 0, 4);
QUARRY_ABI_FIELD(quarry_magazine, end, 4, 4);
QUARRY_ABI_FIELD(quarry_magazine, first, 8, 4);
QUARRY_ABI_FIELD(quarry_magazine, reserved, 12, 4);

QUARRY_ABI_STRUCT(quarry_cpu_block, 1024, magazine);
QUARRY_ABI_FIELD(quarry_cpu_block, magazine, 0, 1024);

QUARRY_ABI_STRUCT(quarry_client_area, 312, reserved);
QUARRY_ABI_FIELD(quarry_client_area, abi_version, 0, 4);
QUARRY_ABI_FIELD(quarry_client_area, bytes, 4, 4);
QUARRY_ABI_FIELD(quarry_client_area, pool_id, 8, 8);
QUARRY_ABI_FIELD(quarry_client_area, client_id, 16, 8);
QUARRY_ABI_FIELD(quarry_client_area, max_bytes, 24, 8);
QUARRY_ABI_FIELD(quarry_client_area, kind, 32, 4);
QUARRY_ABI_FIELD(quarry_client_area, class_count, 36, 4);
QUARRY_ABI_FIELD(quarry_client_area, class_size, 40, 256);
QUARRY_ABI_FIELD(quarry_client_area, cpus, 296, 4);
QUARRY_ABI_FIELD(quarry_client_area, blocks_offset, 300, 4);
QUARRY_ABI_FIELD(quarry_client_area, block_bytes, 304, 4);
QUARRY_ABI_FIELD(quarry_client_area, reserved, 308, 4);

static_assert(QUARRY_IOC_INFO == 0xe900, "QUARRY_IOC_INFO");
static_assert(QUARRY_IOC_POOL_CREATE == 0xe901, "QUARRY_IOC_POOL_CREATE");
static_assert(QUARRY_IOC_JOIN == 0xe902, "QUARRY_IOC_JOIN");
static_assert(QUARRY_IOC_ALLOC == 0xe903, "QUARRY_IOC_ALLOC");
static_assert(QUARRY_IOC_FREE == 0xe904, "QUARRY_IOC_FREE");
static_assert(QUARRY_IOC_TRANSFER == 0xe905, "QUARRY_IOC_TRANSFER");
static_assert(QUARRY_IOC_REGION_ADD == 0xe906, "QUARRY_IOC_REGION_ADD");
static_assert(QUARRY_IOC_REGION_REMOVE == 0xe907, "QUARRY_IOC_REGION_REMOVE");
static_assert(QUARRY_IOC_DRAIN == 0xe908, "QUARRY_IOC_DRAIN");
static_assert(QUARRY_IOC_STAT == 0xe909, "QUARRY_IOC_STAT");
static_assert(QUARRY_IOC_VERIFY == 0xe90a, "QUARRY_IOC_VERIFY");
static_assert(QUARRY_IOC_RESIZE == 0xe90b, "QUARRY_IOC_RESIZE");
static_assert(QUARRY_IOC_REFILL == 0xe90c, "QUARRY_IOC_REFILL");
static_assert(QUARRY_IOC_FLUSH == 0xe90d, "QUARRY_IOC_FLUSH");
static_assert(QUARRY_IOC_SHARE == 0xe90e, "QUARRY_IOC_SHARE");
static_assert(QUARRY_IOC_RESERVE == 0xe90f, "QUARRY_IOC_RESERVE");

#endif /* QUARRY_ABI_LAYOUT_H */
