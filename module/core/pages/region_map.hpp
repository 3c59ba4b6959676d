// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// RegionMap: from a page to its region in O(1), when it is not of the largest. A hash table
// over the granules of 128 pages, the least that a driver's heap grows by: a granule's region
// stands in one of kTries places, and where too many meet, the largest gives way, which the
// table of regions knows anyway. It may not know a region; one region alone has no map; one that is
// refused metadata is slower, no more.
//
//   word              written                        read
//   slots_            changer, release               reader, acquire
//   Slots::place[i]   changer, release               reader, acquire
//
// Context: find any, as a reader; all others the one changer of the regions, task. Costs: find
// O(1), four loads as a rule; add and remove O(granules), at most 2^kMostBits.
#pragma once

#include "../platform/platform.hpp"
#include "region.hpp"

namespace quarry {

template <Platform P>
class RegionMap {
public:
    using Place = std::atomic<Region*>;

    RegionMap() = default;
    // Quiescent.
    ~RegionMap() {
        if (Slots* s = slots_.load(std::memory_order_relaxed))
            P::meta_free(s, Slots::bytes(s->bits));
    }
    RegionMap(const RegionMap&) = delete;
    RegionMap& operator=(const RegionMap&) = delete;

    // The region that has this page, or null: it is not known here.
    Region* find(u64 page) const {
        const Slots* s = slots_.load(std::memory_order_acquire);
        if (!s) return nullptr;
        const Place* place = &s->places()[s->hash(page >> kShift)];
        for (u32 i = 0; i < kTries; ++i)
            if (Region* r = place[i].load(std::memory_order_acquire); r && r->holds(page))
                return r;
        return nullptr;
    }

    // A region that the table has, the n-th; for_each(fn) calls fn(Region&) for each of its regions.
    template <typename ForEach>
    void add(Region& region, u32 n, ForEach&& for_each) {
        granules_ += granules(region);
        Slots* old = slots_.load(std::memory_order_relaxed);
        u32 bits = kLeastBits;
        while (u64{1} << bits < 2 * granules_ && bits < kMostBits) ++bits;
        if (n < 2) return;
        void* memory = nullptr;
        if (!old || old->bits < bits)
            memory = P::meta_alloc(Slots::bytes(bits), Context::may_sleep);
        if (!memory) return put(old, region);
        Slots* fresh = new (memory) Slots{{}, bits};
        for_each([&](Region& r) { put(fresh, r); });
        slots_.store(fresh, std::memory_order_release);
        bytes_.store(Slots::bytes(bits), std::memory_order_relaxed);
        if (old) P::meta_retire(old, Slots::bytes(old->bits));
    }
    // Before the region is retired.
    void remove(Region& region) {
        granules_ -= granules(region);
        each_granule(slots_.load(std::memory_order_relaxed), region, [&](Place* at) {
            for (u32 i = 0; i < kTries; ++i)
                if (at[i].load(std::memory_order_relaxed) == &region)
                    at[i].store(nullptr, std::memory_order_release);
        });
    }

    // fn(Place&), as a reader.
    template <typename Fn>
    void for_each_place(Fn&& fn) {
        Slots* s = slots_.load(std::memory_order_acquire);
        for (u64 i = 0; s && i < Slots::count(s->bits); ++i) fn(s->places()[i]);
    }
    u64 meta_bytes() const {
        return bytes_.load(std::memory_order_relaxed);
    }

private:
    static constexpr u64 kShift = 7;
    static constexpr u32 kTries = 4, kLeastBits = 5, kMostBits = 12;

    struct alignas(64) Slots {
        u64 platforms[2];  // from retirement on
        u32 bits;

        Place* places() { return reinterpret_cast<Place*>(this + 1); }
        const Place* places() const { return reinterpret_cast<const Place*>(this + 1); }
        u64 hash(u64 granule) const { return granule * 0x9e3779b97f4a7c15 >> (64 - bits); }
        static u64 count(u32 bits) { return (u64{1} << bits) + kTries - 1; }
        static u64 bytes(u32 bits) { return sizeof(Slots) + count(bits) * sizeof(Place); }
    };

    static u64 granules(const Region& r) {
        return ((r.end() - 1) >> kShift) - (r.first >> kShift) + 1;
    }
    template <typename Fn>
    static void each_granule(Slots* s, const Region& r, Fn&& fn) {
        const u64 n = granules(r);
        for (u64 i = 0; s && i < n && i < Slots::count(s->bits); ++i)
            fn(&s->places()[s->hash((r.first >> kShift) + i)]);
    }
    static void put(Slots* s, Region& region) {
        each_granule(s, region, [&](Place* at) {
            Place* best = nullptr;
            u64 most = region.pages;
            for (u32 i = 0; i < kTries; ++i) {
                const Region* other = at[i].load(std::memory_order_relaxed);
                if (other == &region) return;
                const u64 pages = other ? other->pages : ~u64{0};
                if (pages > most) best = &at[i], most = pages;
            }
            if (best) best->store(&region, std::memory_order_release);
        });
    }

    std::atomic<Slots*> slots_{nullptr};
    std::atomic<u64> bytes_{0};
    u64 granules_ = 0;
};

}  // namespace quarry
