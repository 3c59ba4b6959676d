// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * What the suites call in quarry.ko: the core's entries and the shim's own
 * functions. Exported in a build with QUARRY_KUNIT=1 only.
 */
#include <linux/export.h>
#include "../module/client.h"
#include "../module/errors.h"
#include "../module/idle.h"
#include "../module/ioctl.h"
#include "../module/limits.h"
#include "../module/magazine.h"
#include "../module/pool.h"

/* The seam. */
EXPORT_SYMBOL_GPL(quarry_core_pool_create);
EXPORT_SYMBOL_GPL(quarry_core_pool_destroy);
EXPORT_SYMBOL_GPL(quarry_core_pool_wanted_pages);
EXPORT_SYMBOL_GPL(quarry_core_pool_populate);
EXPORT_SYMBOL_GPL(quarry_core_region_add);
EXPORT_SYMBOL_GPL(quarry_core_region_isolate);
EXPORT_SYMBOL_GPL(quarry_core_region_restore);
EXPORT_SYMBOL_GPL(quarry_core_region_remove);
EXPORT_SYMBOL_GPL(quarry_core_region_find);
EXPORT_SYMBOL_GPL(quarry_core_client_create);
EXPORT_SYMBOL_GPL(quarry_core_client_reap);
EXPORT_SYMBOL_GPL(quarry_core_client_destroy);
EXPORT_SYMBOL_GPL(quarry_core_client_usage);
EXPORT_SYMBOL_GPL(quarry_core_alloc);
EXPORT_SYMBOL_GPL(quarry_core_usable_size);
EXPORT_SYMBOL_GPL(quarry_core_free);
EXPORT_SYMBOL_GPL(quarry_core_transfer);
EXPORT_SYMBOL_GPL(quarry_core_share);
EXPORT_SYMBOL_GPL(quarry_core_resize);
EXPORT_SYMBOL_GPL(quarry_core_range_meta_bytes);
EXPORT_SYMBOL_GPL(quarry_core_region_place);
EXPORT_SYMBOL_GPL(quarry_core_magazines_open);
EXPORT_SYMBOL_GPL(quarry_core_magazines_bring);
EXPORT_SYMBOL_GPL(quarry_core_magazines_prepare);
EXPORT_SYMBOL_GPL(quarry_core_refill);
EXPORT_SYMBOL_GPL(quarry_core_flush);
EXPORT_SYMBOL_GPL(quarry_core_magazines_drain);
EXPORT_SYMBOL_GPL(quarry_core_magazines_drain_all);
EXPORT_SYMBOL_GPL(quarry_core_pool_stat);
EXPORT_SYMBOL_GPL(quarry_core_pool_drain);
EXPORT_SYMBOL_GPL(quarry_core_pool_verify);
EXPORT_SYMBOL_GPL(quarry_core_size_classes);
EXPORT_SYMBOL_GPL(quarry_core_heap_create);
EXPORT_SYMBOL_GPL(quarry_core_heap_destroy);
EXPORT_SYMBOL_GPL(quarry_core_heap_add_region);
EXPORT_SYMBOL_GPL(quarry_core_heap_remove_region);
EXPORT_SYMBOL_GPL(quarry_core_heap_alloc);
EXPORT_SYMBOL_GPL(quarry_core_heap_free);
EXPORT_SYMBOL_GPL(quarry_core_heap_free_sized);
EXPORT_SYMBOL_GPL(quarry_core_heap_usable);
EXPORT_SYMBOL_GPL(quarry_core_heap_drain);
EXPORT_SYMBOL_GPL(quarry_core_heap_stat);
EXPORT_SYMBOL_GPL(quarry_core_heap_verify);
EXPORT_SYMBOL_GPL(quarry_core_reserve_init);
EXPORT_SYMBOL_GPL(quarry_core_reserve_take);
EXPORT_SYMBOL_GPL(quarry_core_reserve_give);
EXPORT_SYMBOL_GPL(quarry_core_reserve_left);
EXPORT_SYMBOL_GPL(quarry_core_reserve_verify);
EXPORT_SYMBOL_GPL(quarry_core_batch_take);
EXPORT_SYMBOL_GPL(quarry_core_batch_give);
EXPORT_SYMBOL_GPL(quarry_core_batches_left);
EXPORT_SYMBOL_GPL(quarry_core_batches_verify);

/* The shim. */
EXPORT_SYMBOL_GPL(quarry_pool_create);
EXPORT_SYMBOL_GPL(quarry_pool_get);
EXPORT_SYMBOL_GPL(quarry_pool_put);
EXPORT_SYMBOL_GPL(quarry_pool_name);
EXPORT_SYMBOL_GPL(quarry_pool_grow);
EXPORT_SYMBOL_GPL(quarry_pool_low);
EXPORT_SYMBOL_GPL(quarry_regions_add);
EXPORT_SYMBOL_GPL(quarry_region_remove);
EXPORT_SYMBOL_GPL(quarry_page_find);
EXPORT_SYMBOL_GPL(quarry_client_create);
EXPORT_SYMBOL_GPL(quarry_client_find);
EXPORT_SYMBOL_GPL(quarry_client_put);
EXPORT_SYMBOL_GPL(quarry_client_reap);
EXPORT_SYMBOL_GPL(quarry_client_alloc);
EXPORT_SYMBOL_GPL(quarry_client_reserve);
EXPORT_SYMBOL_GPL(quarry_client_undo);
EXPORT_SYMBOL_GPL(quarry_client_free);
EXPORT_SYMBOL_GPL(quarry_client_hand);
EXPORT_SYMBOL_GPL(quarry_client_resize);
EXPORT_SYMBOL_GPL(quarry_client_drain);
EXPORT_SYMBOL_GPL(quarry_client_refill);
EXPORT_SYMBOL_GPL(quarry_client_flush);
EXPORT_SYMBOL_GPL(quarry_pool_relieve);
EXPORT_SYMBOL_GPL(quarry_idle_count);
EXPORT_SYMBOL_GPL(quarry_idle_scan);
EXPORT_SYMBOL_GPL(quarry_pool_stat);
EXPORT_SYMBOL_GPL(quarry_magazines_open);
EXPORT_SYMBOL_GPL(quarry_magazine_cpus);
EXPORT_SYMBOL_GPL(quarry_limits_get);
EXPORT_SYMBOL_GPL(quarry_account_get);
EXPORT_SYMBOL_GPL(quarry_account_put);
EXPORT_SYMBOL_GPL(quarry_charge);
EXPORT_SYMBOL_GPL(quarry_uncharge);
EXPORT_SYMBOL_GPL(quarry_charged);
EXPORT_SYMBOL_GPL(quarry_errno);
EXPORT_SYMBOL_GPL(quarry_error_text);
EXPORT_SYMBOL_GPL(quarry_client_area_bytes);
EXPORT_SYMBOL_GPL(quarry_client_fops);
EXPORT_SYMBOL_GPL(quarry_poolfs_file);
EXPORT_SYMBOL_GPL(quarry_control_ioctl);
EXPORT_SYMBOL_GPL(quarry_client_ioctl);
