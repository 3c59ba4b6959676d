// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The table that finds a page's region. Sorted by first page; readers search it without a
// lock. It is changed by one caller at a time (the buddy's change claim), who never waits for
// readers:
//   appending     a new region behind all others: the entry is written, then the count
//   reviving      a region where one was removed: the pointer of its entry
//   removing      the pointer becomes null; needs no memory, so it cannot fail
//   anything else a new table without the empty entries; the old one is retired
//
//   word                  written, order                      read
//   home_                 changer, release                    reader, acquire
//   table_                changer, release                    reader, acquire
//   Table::count          changer, release, after the entry   reader, acquire
//   Entry::region         changer, release                    reader, acquire
//   chunks_[i]            changer, release, set once          anyone, acquire
//   Chunk::region[i]      changer, release                    who holds a page of it, acquire
//
// home_ is the largest region: most look-ups end there, after three loads. Those that do not,
// end in the map (region_map.hpp); what it does not know is searched for.
//
// Costs: find O(1) as a rule, O(log regions) at worst, the largest, the first and the last region
// at once; add O(granules) behind the others, else O(regions) without any lock; a 16 bit id to its
// region two loads.
#pragma once

#include "region_map.hpp"

namespace quarry {

// The home of a table that has no region: no page is in it.
inline constinit Region no_region{};

template <Platform P>
class RegionTable {
public:
    RegionTable() = default;
    // Quiescent. Frees the regions, too.
    ~RegionTable() {
        if (Table* t = table_.load(std::memory_order_relaxed)) {
            for (u32 i = 0; i < t->count.load(std::memory_order_relaxed); ++i)
                if (Region* r = t->entries()[i].get())
                    P::meta_free(r, r->meta_bytes());
            P::meta_free(t, Table::bytes(t->capacity));
        }
        for (auto& chunk : chunks_)
            if (Chunk* c = chunk.load(std::memory_order_relaxed)) P::meta_free(c, sizeof(Chunk));
    }
    RegionTable(const RegionTable&) = delete;
    RegionTable& operator=(const RegionTable&) = delete;

    // The region that holds `page`, or null. Context: any, as a reader.
    Region* find(u64 page) const {
        Region* region = home(page);
        return region ? region : find_elsewhere(page);
    }
    // The largest region, or null if it does not hold `page`.
    Region* home(u64 page) const {
        Region* region = home_.load(std::memory_order_acquire);
        return region->holds(page) ? region : nullptr;
    }
    // The same, when it is not the largest.
    Region* find_elsewhere(u64 page) const {
        Region* region = map_.find(page);
        return region ? region : search(page);
    }
    [[gnu::noinline]] Region* search(u64 page) const {
        const Table* t = table_.load(std::memory_order_acquire);
        if (!t) return nullptr;
        const u32 count = t->count.load(std::memory_order_acquire);
        const Entry* e = t->entries();
        u32 at = 0;
        if (count == 0) return nullptr;
        if (page >= e[count - 1].first) {
            at = count - 1;
        } else if (count > 1 && page >= e[1].first) {  // what is behind the count is not written yet
            for (u32 n = count; n > 1;) {
                const u32 half = n / 2;
                at += e[at + half].first <= page ? half : 0;
                n -= half;
            }
        }
        Region* r = e[at].get();
        return r && r->holds(page) ? r : nullptr;
    }

    // The region with this id; the caller holds a page of it, or the buddy's lock.
    Region& by_id(u32 id) const {
        return *chunks_[id / 256]
                    .load(std::memory_order_acquire)
                    ->region[id % 256]
                    .load(std::memory_order_acquire);
    }

    // The region with the smallest first page that is `page` at least and not empty, or null.
    // Context: any, as a reader.
    Region* at_or_after(u64 page) const {
        const Table* t = table_.load(std::memory_order_acquire);
        if (!t) return nullptr;
        const u32 count = t->count.load(std::memory_order_acquire);
        for (u32 i = lower_bound(*t, count, page); i < count; ++i)
            if (Region* r = t->entries()[i].get()) return r;
        return nullptr;
    }

    // fn(const Region&) in order of the first page. As a reader, or with changes held off.
    template <typename Fn>
    void for_each(Fn&& fn) const {
        const Table* t = table_.load(std::memory_order_acquire);
        const u32 count = t ? t->count.load(std::memory_order_acquire) : 0;
        for (u32 i = 0; i < count; ++i)
            if (const Region* r = t->entries()[i].get()) fn(*r);
    }

    // Metadata of the tables while there is one region.
    static u64 first_bytes() { return Table::bytes(kFirstCapacity) + sizeof(Chunk); }
    u32 count() const { return live_.load(std::memory_order_relaxed); }
    u64 meta_bytes() const {
        return meta_bytes_.load(std::memory_order_relaxed) + map_.meta_bytes();
    }
    RegionMap<P>& map() { return map_; }
    const RegionMap<P>& map() const { return map_; }

    // ---- one changer at a time, no lock held ----

    bool overlaps(u64 first, u64 pages) const {
        const Table* t = table_.load(std::memory_order_relaxed);
        if (!t) return false;
        const u32 count = t->count.load(std::memory_order_relaxed);
        const u32 at = lower_bound(*t, count, first);
        for (u32 i = at; i < count && t->entries()[i].first < first + pages; ++i)
            if (t->entries()[i].get()) return true;
        for (u32 i = at; i-- > 0;)
            if (const Region* r = t->entries()[i].get()) return r->end() > first;
        return false;
    }

    // Publishes a region that overlaps none, under an id of its own. Errors: no_memory,
    // too_many; then nothing has changed.
    Error add(Region& region) {
        if (count() == kMaxRegions) return Error::too_many;
        std::atomic<Region*>* name = unused_id(region.id);
        if (!name || !reserve(region)) return Error::no_memory;
        name->store(&region, std::memory_order_release);
        for (u64 i = 0; i < region.pages; ++i) {
            new (&region.descs()[i]) PageDesc;
            region.descs()[i].set(PageState::body, Order{0}, region.id);
            if (i % kInitStep == kInitStep - 1) P::breathe();
        }
        insert(region);
        live_.store(count() + 1, std::memory_order_relaxed);
        charge(region.meta_bytes());
        map_.add(region, count(), [this](auto&& fn) { this->for_each_to_change(fn); });
        if (region.pages > home_.load(std::memory_order_relaxed)->pages)
            home_.store(&region, std::memory_order_release);
        return Error::none;
    }

    // Unpublishes and retires. Cannot fail.
    void remove(Region& region) {
        Table* t = table_.load(std::memory_order_relaxed);
        const u32 at = lower_bound(*t, t->count.load(std::memory_order_relaxed), region.first);
        map_.remove(region);
        t->entries()[at].set(nullptr);
        chunks_[region.id / 256].load(std::memory_order_relaxed)->region[region.id % 256].store(
            nullptr, std::memory_order_release);
        if (region.id < first_id_) first_id_ = region.id;
        live_.store(count() - 1, std::memory_order_relaxed);
        charge(-region.meta_bytes());
        if (home_.load(std::memory_order_relaxed) == &region) choose_home();
        P::meta_retire(&region, region.meta_bytes());
    }

private:
    static constexpr u64 kInitStep = 4096;
    static constexpr u32 kFirstCapacity = 4;

    struct Entry {
        u64 first;
        std::atomic<Region*> region;

        Region* get() const { return region.load(std::memory_order_acquire); }
        void set(Region* r) { region.store(r, std::memory_order_release); }
    };
    struct alignas(64) Table {
        u64 platforms[2];  // from retirement on
        std::atomic<u32> count;
        u32 capacity;

        Entry* entries() { return reinterpret_cast<Entry*>(this + 1); }
        const Entry* entries() const { return reinterpret_cast<const Entry*>(this + 1); }
        static u64 bytes(u32 capacity) { return sizeof(Table) + u64{capacity} * sizeof(Entry); }
    };
    struct Chunk {
        std::atomic<Region*> region[256];
    };

    // By the changer.
    template <typename Fn>
    void for_each_to_change(Fn&& fn) {
        Table* t = table_.load(std::memory_order_relaxed);
        for (u32 i = 0; i < t->count.load(std::memory_order_relaxed); ++i)
            if (Region* r = t->entries()[i].get()) fn(*r);
    }
    // The largest of the regions that are left.
    void choose_home() {
        Region* largest = &no_region;
        for_each_to_change([&](Region& r) {
            if (r.pages > largest->pages) largest = &r;
        });
        home_.store(largest, std::memory_order_release);
    }

    void charge(u64 bytes) {
        meta_bytes_.store(meta_bytes_.load(std::memory_order_relaxed) + bytes,
                          std::memory_order_relaxed);
    }

    // Index of the first entry whose first page is `page` at least.
    static u32 lower_bound(const Table& t, u32 count, u64 page) {
        u32 low = 0;
        while (low < count) {
            const u32 middle = low + (count - low) / 2;
            if (t.entries()[middle].first < page)
                low = middle + 1;
            else
                count = middle;
        }
        return low;
    }

    // An id that no region has; null when its chunk cannot be had.
    std::atomic<Region*>* unused_id(u16& id) {
        for (u32 tries = 0; tries < kMaxRegions; ++tries) {
            const u32 next = (first_id_ + tries) % kMaxRegions;
            auto& slot = chunks_[next / 256];
            Chunk* chunk = slot.load(std::memory_order_relaxed);
            if (!chunk) {
                chunk = make_meta<Chunk, P>(Context::may_sleep);
                if (!chunk) return nullptr;
                slot.store(chunk, std::memory_order_release);
                charge(sizeof(Chunk));
            }
            if (chunk->region[next % 256].load(std::memory_order_relaxed)) continue;
            id = static_cast<u16>(next);
            first_id_ = next;
            return &chunk->region[next % 256];
        }
        return nullptr;
    }

    // Where the region goes without a new table: behind all entries, or in an empty entry
    // of its own first page, behind which no empty one cuts it. Capacity when there is none.
    static u32 place(const Table& t, const Region& region) {
        const u32 count = t.count.load(std::memory_order_relaxed);
        const u32 at = lower_bound(t, count, region.first);
        if (at == count) return at;
        if (t.entries()[at].first != region.first) return t.capacity;
        if (at + 1 < count && t.entries()[at + 1].first < region.end()) return t.capacity;
        return at;
    }

    // Makes room, so that insert cannot fail.
    bool reserve(const Region& region) {
        Table* old = table_.load(std::memory_order_relaxed);
        if (old && place(*old, region) < old->capacity) return true;
        u32 capacity = kFirstCapacity;
        while (capacity < count() + 1 + count() / 2) capacity *= 2;
        void* memory = P::meta_alloc(Table::bytes(capacity), Context::may_sleep);
        if (!memory) return false;
        spare_ = new (memory) Table{};
        spare_->capacity = capacity;
        return true;
    }

    void insert(Region& region) {
        Table* old = table_.load(std::memory_order_relaxed);
        if (!spare_) {
            const u32 at = place(*old, region);
            Entry& e = old->entries()[at];
            if (at < old->count.load(std::memory_order_relaxed)) {
                e.set(&region);
                return;
            }
            new (&e) Entry{region.first, &region};
            old->count.store(at + 1, std::memory_order_release);
            return;
        }
        Table* fresh = spare_;
        spare_ = nullptr;
        u32 n = 0;
        bool placed = false;
        auto put = [&](Region* r) { new (&fresh->entries()[n++]) Entry{r->first, r}; };
        const u32 count = old ? old->count.load(std::memory_order_relaxed) : 0;
        for (u32 i = 0; i < count; ++i) {
            Region* r = old->entries()[i].get();
            if (!r) continue;
            if (!placed && r->first > region.first) {
                put(&region);
                placed = true;
            }
            put(r);
        }
        if (!placed) put(&region);
        fresh->count.store(n, std::memory_order_relaxed);
        table_.store(fresh, std::memory_order_release);
        charge(Table::bytes(fresh->capacity));
        if (!old) return;
        charge(-Table::bytes(old->capacity));
        P::meta_retire(old, Table::bytes(old->capacity));
    }

    std::atomic<Region*> home_{&no_region};
    std::atomic<Table*> table_{nullptr};
    Table* spare_ = nullptr;
    std::atomic<u32> live_{0};
    u32 first_id_ = 0;  // no smaller one is unused
    std::atomic<u64> meta_bytes_{0};
    RegionMap<P> map_;
    std::atomic<Chunk*> chunks_[kMaxRegions / 256] = {};
};

}  // namespace quarry
