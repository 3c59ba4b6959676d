// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The seam's entries for pools with owners: quarry_core_pool_*, _region_*, _client_*,
// _alloc, _free, _transfer. Nothing is decided here: C types to the core's and back.
#include "../platform/kernel.hpp"
#include "../pool/pool_audit.hpp"
#include "../pool/reaper.hpp"
#include "../pool/reserves.hpp"
#include "../pool/share_calls.hpp"
#include "shape.hpp"

using namespace quarry;

namespace {

using KPool = Pool<KernelPlatform>;
using KClient = Client<KernelPlatform>;

KPool& of(quarry_core_pool* pool) { return *reinterpret_cast<KPool*>(pool); }
const KPool& of(const quarry_core_pool* pool) { return *reinterpret_cast<const KPool*>(pool); }
KClient& of(quarry_core_client* client) { return *reinterpret_cast<KClient*>(client); }
const KClient& of(const quarry_core_client* client) {
    return *reinterpret_cast<const KClient*>(client);
}
KPool& pool_of(KClient& client) { return *static_cast<KPool*>(client.pool()); }

PageNumber page_of(u64 offset) { return PageNumber{offset / kPageBytes}; }

void describe(const Region& region, quarry_core_region* out) {
    out->offset = region.first * kPageBytes;
    out->pages = region.pages;
    out->zone = static_cast<quarry_core_zone>(region.zone);
    out->cookie = region.cookie;
}

// The region that begins at `offset`.
Error find_region(KPool& pool, u64 offset, quarry_core_region* out) {
    ReadGuard<KernelPlatform> reader;
    const Region* region = offset % kPageBytes ? nullptr : pool.buddy().region_of(page_of(offset));
    if (!region || region->first * kPageBytes != offset) return Error::not_found;
    describe(*region, out);
    return Error::none;
}

// The offset space that the objects of a fixed pool need; 0 for what is no such pool.
u64 pages_for(const quarry_core_pool_config& config) {
    if (!config.object_size || config.object_size > kMaxObject) return 0;
    if (!config.object_count || config.object_count > kMaxPoolPages * kPageBytes / kGrain) return 0;
    const SizeClass cut = cut_of_fixed(config.object_size);
    return (config.object_count + cut.slots - 1) / cut.slots * pages_of(cut.order);
}

void tell(const KPool::Refusal& refusal, quarry_core_refusal* out) {
    out->offset = refusal.offset;
    out->owner = refusal.owner;
}
int answer(const KPool::Granted& granted, const KPool::Refusal& refusal, uint32_t* done,
           quarry_core_refusal* out) {
    *done = granted.done;
    tell(refusal, out);
    return to_seam(granted.why);
}

// What the client has set aside is free to whoever names it in a call.
template <typename Call>
KPool::Granted guarded(KClient& client, const uint64_t* offsets, uint32_t count,
                       KPool::Refusal& why, Call&& call) {
    return ReserveCalls<KernelPlatform>(pool_of(client), client).guarded(offsets, count, why, call);
}

PoolConfig config_of(const quarry_core_pool_config& config) {
    PoolConfig c;
    c.fixed = config.kind == QUARRY_CORE_FIXED;
    c.max_clients = config.max_clients;
    c.max_pages = config.max_pages;
    if (c.fixed && c.max_pages == 0) c.max_pages = pages_for(config);
    c.object_size = config.object_size;
    c.object_count = config.object_count;
    if (config.kind == QUARRY_CORE_RANGE) {
        c.max_pages = 1;  // never asked for
        c.range = shape_of(config);
    }
    c.zero_on_regrant = config.zero_on_regrant != 0;
    c.hold_pinned = config.hold_pinned != 0;
    c.os = config.os_pool;
    return c;
}
static_assert(kMaxRanges == QUARRY_CORE_MAX_RANGES);

}  // namespace

extern "C" {

int quarry_core_pool_create(const quarry_core_pool_config* config, quarry_core_pool** pool) {
    const PoolConfig c = config_of(*config);
    if (config->kind == QUARRY_CORE_RANGE && config->max_ranges == 0)
        return to_seam(Error::invalid);
    if (const Error e = check_pool<KernelPlatform>(c); !ok(e)) return to_seam(e);
    auto* made = make_meta<KPool, KernelPlatform>(Context::may_sleep, c);
    if (!made) return to_seam(Error::no_memory);
    if (const Error e = made->init(); !ok(e)) {
        free_meta<KernelPlatform>(made);
        return to_seam(e);
    }
    *pool = reinterpret_cast<quarry_core_pool*>(made);
    return QUARRY_OK;
}

void quarry_core_pool_destroy(quarry_core_pool* pool, void (*forget)(void*, void*)) {
    KPool& p = of(pool);
    if (forget)
        p.buddy().for_each_region(
            [&](const auto& region) { forget(p.config().os, region.cookie); });
    free_meta<KernelPlatform>(&p);
}

uint64_t quarry_core_pool_wanted_pages(const quarry_core_pool* pool) {
    return of(pool).wanted_pages();
}

int quarry_core_pool_populate(quarry_core_pool* pool) { return to_seam(of(pool).populate()); }

int quarry_core_region_add(quarry_core_pool* pool, uint64_t pages, quarry_core_zone zone,
                           void* cookie, uint64_t* offset) {
    KPool& p = of(pool);
    const auto first = p.buddy().find_gap(pages);
    if (!first) return to_seam(first.error());
    const auto added = p.buddy().add_region(*first, pages, static_cast<Zone>(zone), cookie);
    if (!added) return to_seam(added.error());
    *offset = value(*first) * kPageBytes;
    return QUARRY_OK;
}

int quarry_core_region_place(quarry_core_pool* pool, uint64_t pages, uint64_t* offset) {
    const auto first = of(pool).buddy().find_gap(pages);
    if (!first) return to_seam(first.error());
    *offset = value(*first) * kPageBytes;
    return QUARRY_OK;
}

int quarry_core_region_isolate(quarry_core_pool* pool, uint64_t offset,
                               quarry_core_region* region) {
    KPool& p = of(pool);
    if (const Error e = find_region(p, offset, region); !ok(e)) return to_seam(e);
    {
        ReadGuard<KernelPlatform> reader;
        p.slabs().reclaim_all();
    }
    return to_seam(p.buddy().isolate_region(page_of(offset)));
}

uint64_t quarry_core_region_free(quarry_core_pool* pool, uint64_t offset) {
    return of(pool).buddy().free_in(page_of(offset));
}

void quarry_core_region_restore(quarry_core_pool* pool, uint64_t offset) {
    of(pool).buddy().restore_region(page_of(offset));
}

void quarry_core_region_remove(quarry_core_pool* pool, uint64_t offset) {
    (void)of(pool).buddy().remove_region(page_of(offset));
}

int quarry_core_region_find(const quarry_core_pool* pool, uint64_t offset,
                            quarry_core_region* region) {
    const KPool& p = of(pool);
    if (offset >= p.max_bytes()) return to_seam(Error::out_of_range);
    ReadGuard<KernelPlatform> reader;
    const Region* found = p.buddy().region_of(page_of(offset));
    if (!found) return to_seam(Error::no_region);
    describe(*found, region);
    return QUARRY_OK;
}

int quarry_core_client_create(quarry_core_pool* pool, uint64_t id, uint64_t limit,
                              quarry_core_client** client) {
    const auto made = of(pool).clients().add(&of(pool), id, limit);
    if (!made) return to_seam(made.error());
    *client = reinterpret_cast<quarry_core_client*>(*made);
    return QUARRY_OK;
}

void quarry_core_client_reap(quarry_core_client* client, uint64_t* objects, uint64_t* bytes) {
    KClient& c = of(client);
    const auto taken = Reaper<KernelPlatform>(pool_of(c)).reap(c);
    *objects = taken.objects;
    *bytes = taken.bytes;
}

void quarry_core_client_destroy(quarry_core_client* client) {
    KClient& c = of(client);
    auto* magazines = c.magazines.load(std::memory_order_acquire);
    auto* reserves = c.reserves.load(std::memory_order_acquire);
    pool_of(c).clients().remove(c);
    // After the client: whoever finds it may still look at them.
    if (magazines) ClientMagazines<KernelPlatform>::retire(magazines);
    if (reserves) Reserves<KernelPlatform>::retire(reserves);
}

void quarry_core_client_usage(const quarry_core_client* client, uint64_t* objects,
                              uint64_t* bytes) {
    *objects = of(client).objects();
    *bytes = of(client).bytes();
}

int quarry_core_alloc(quarry_core_client* client, uint64_t size, uint64_t align, uint32_t count,
                      uint64_t near, uint64_t* offsets, uint32_t* done, uint64_t* pages,
                      quarry_context context, int can_grow) {
    static_assert(kAnywhere == QUARRY_CORE_ANYWHERE && kApart == QUARRY_CORE_APART);
    KClient& c = of(client);
    const auto granted = pool_of(c).alloc(c, size, align, count, offsets,
                                          static_cast<Context>(context), can_grow != 0, near);
    *done = granted.done;
    *pages = granted.pages;
    return to_seam(granted.why);
}

uint64_t quarry_core_usable_size(const quarry_core_pool* pool, uint64_t size, uint64_t align) {
    if (auto* ranges = of(pool).ranges()) return ranges->unit(size);
    const auto route = of(pool).route(size, align);
    return route ? route->unit : 0;
}

int quarry_core_free(quarry_core_client* client, const uint64_t* offsets, uint32_t count,
                     uint32_t* done, quarry_core_refusal* refusal) {
    KClient& c = of(client);
    KPool::Refusal why;
    return answer(guarded(c, offsets, count, why,
                          [&](u32 n) { return pool_of(c).free(c, offsets, n, why); }),
                  why, done, refusal);
}

int quarry_core_transfer(quarry_core_client* from, quarry_core_client* to,
                         const uint64_t* offsets, uint32_t count, uint32_t* done,
                         quarry_core_refusal* refusal) {
    KClient& c = of(from);
    KPool::Refusal why;
    const auto transfer = [&](u32 n) {
        return TransferCalls<KernelPlatform>(pool_of(c)).transfer(c, of(to), offsets, n, why);
    };
    return answer(guarded(c, offsets, count, why, transfer), why, done, refusal);
}

int quarry_core_share(quarry_core_client* from, quarry_core_client* to, const uint64_t* offsets,
                      uint32_t count, uint32_t* done, quarry_core_refusal* refusal) {
    KClient& c = of(from);
    KPool::Refusal why;
    ShareCalls<KernelPlatform> calls(pool_of(c));
    return answer(guarded(c, offsets, count, why,
                          [&](u32 n) { return calls.share(c, of(to), offsets, n, why); }),
                  why, done, refusal);
}

int quarry_core_resize(quarry_core_client* client, uint64_t offset, uint64_t size,
                       uint64_t* bytes, quarry_core_refusal* refusal) {
    KClient& c = of(client);
    KPool::Refusal why;
    if (ReserveCalls<KernelPlatform>(pool_of(c), c).holds(offset)) {
        tell({offset, 0}, refusal);
        return to_seam(Error::already_free);
    }
    const auto resized = pool_of(c).resize(c, offset, size, why);
    tell(why, refusal);
    *bytes = *resized;
    return to_seam(resized.error());
}

uint64_t quarry_core_range_meta_bytes(const quarry_core_pool_config* config) {
    const auto bytes = RangePool<KernelPlatform>::required_meta_bytes(config_of(*config).range);
    return *bytes;
}

void quarry_core_pool_stat(quarry_core_pool* pool, quarry_core_stat* stat,
                           quarry_core_class_stat* classes, uint32_t count) {
    KPool& p = of(pool);
    *stat = {};
    stat->max_bytes = p.max_bytes();
    stat->bytes = p.buddy().total_pages() * kPageBytes;
    stat->free_bytes = p.buddy().free_pages() * kPageBytes;
    stat->meta_bytes = p.meta_bytes();
    stat->regions = static_cast<uint32_t>(p.buddy().region_count());
    stat->clients = p.clients().count();
    stat->shares = p.shares().count();
    stat->held_bytes = p.held() ? p.held()->bytes() : 0;
    if (auto* ranges = p.ranges())
        stat->free_bytes = ranges->free_bytes();
    else
        stat->classes = p.slabs().classes();
    for (u32 c = 0; c < stat->classes; ++c) {
        ReadGuard<KernelPlatform> reader;
        const auto counts = p.slabs().count(c);
        stat->slabs += counts.slabs;
        if (c < count)
            classes[c] = {p.slabs().size_class(c).slot_bytes, counts.slabs, counts.taken,
                          counts.free};
    }
    ReadGuard<KernelPlatform> reader;
    for (u32 i = 1; i <= p.clients().max(); ++i) {
        if (const KClient* client = p.clients().find(static_cast<ClientIndex>(i))) {
            stat->objects += client->objects();
            stat->used_bytes += client->bytes();
            if (const auto* reserves = client->reserves.load(std::memory_order_acquire))
                stat->aside += reserves->total();
        }
    }
}

void quarry_core_pool_drain(quarry_core_pool* pool, uint64_t* slots, uint64_t* slabs) {
    of(pool).drain(*slots, *slabs);
}

uint64_t quarry_core_pool_recheck(quarry_core_pool* pool) {
    HeldObjects<KernelPlatform>* held = of(pool).held();
    if (!held) return 0;
    (void)held->recheck();
    return held->bytes();
}

void quarry_core_pool_verify(quarry_core_pool* pool, int quiet, quarry_core_audit* out) {
    Audit audit;
    PoolAudit<KernelPlatform>(of(pool), audit).run(quiet != 0);
    *out = audit.result();
}

uint32_t quarry_core_size_classes(const uint32_t** sizes) {
    static constexpr auto kSizes = [] {
        std::array<u32, kClasses> bytes{};
        for (u32 i = 0; i < kClasses; ++i) bytes[i] = kSizeClasses[i].slot_bytes;
        return bytes;
    }();
    *sizes = kSizes.data();
    return kClasses;
}

}  // extern "C"
