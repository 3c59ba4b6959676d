// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// CpuCaches: the magazines of all CPUs and the depots, between a heap and its slabs.
//
//   take, give      the fast path: a pop or a push on this CPU (heap.hpp inlines them)
//   grab            up to n objects: magazine, depot, slabs, in this order
//   put             one object into a magazine that is full or has no array yet
//   flush_*         what is cached goes home
//
// Metadata is made when a CPU first uses a class, outside every lock, and refused without
// harm: then objects go straight to and from the slabs. That is also the way of those who
// interrupt somebody inside the same cache.
//
// Context: any, unless a function says otherwise. Pins by itself.
// Costs: O(1); a refill or a drain O(half a magazine) once in half a magazine.
#pragma once

#include "../slabs/slab_allocator.hpp"
#include "depot.hpp"

namespace quarry {

// All classes of a heap: those of normal memory, then the same in low memory. Only the
// former have magazines.
inline constexpr u32 kHeapClasses = 2 * kClasses;
inline constexpr std::array<SizeClass, kHeapClasses> kHeapClassTable = [] {
    std::array<SizeClass, kHeapClasses> table;
    for (u32 i = 0; i < kHeapClasses; ++i) table[i] = kSizeClasses[i % kClasses];
    return table;
}();

// Does the platform let others' caches be emptied? on_each_cpu(fn, arg) calls fn(arg, cpu)
// for every CPU, so that no pinned section of that CPU runs meanwhile, but fn's own;
// answers how many CPUs could not be reached. Context: task.
template <typename P>
concept ReachesCpus = requires(void (*fn)(void*, unsigned), void* arg) {
    { P::on_each_cpu(fn, arg) } -> std::same_as<unsigned>;
};

template <Platform P>
class CpuCaches {
public:
    using Slabs = SlabAllocator<P, LiveBytes>;
    using SlabT = Slab<LiveBytes>;

    CpuCaches(Buddy<P>& buddy, Slabs& slabs) : buddy_(buddy), slabs_(slabs) {
        for (u32 c = 0; c < kClasses; ++c) depots_[c].set_class(kSizeClasses[c].slot_bytes);
    }
    // Quiescent, and flushed.
    ~CpuCaches() {
        if (!caches_) return;
        for (u32 cpu = 0; cpu < cpus_; ++cpu) {
            CpuCache* cache = caches_[cpu].load(std::memory_order_relaxed);
            if (cache == &closed_cache) continue;
            for (u32 c = 0; c < kClasses; ++c)
                if (Entry* entries = cache->magazine[c].entries())
                    P::meta_free(entries, array_bytes(c));
            P::meta_free(cache, sizeof(CpuCache));
        }
        P::meta_free(caches_, cpus_ * sizeof(*caches_));
    }
    CpuCaches(const CpuCaches&) = delete;
    CpuCaches& operator=(const CpuCaches&) = delete;

    // Context: task. Errors: no_memory.
    Error init() {
        const u32 cpus = P::cpus();
        void* memory = P::meta_alloc(cpus * sizeof(*caches_), Context::may_sleep);
        if (!memory) return Error::no_memory;
        caches_ = static_cast<std::atomic<CpuCache*>*>(memory);
        for (u32 i = 0; i < cpus; ++i) new (&caches_[i]) std::atomic<CpuCache*>(&closed_cache);
        cpus_ = cpus;
        meta_bytes_.store(cpus * sizeof(*caches_), std::memory_order_relaxed);
        return Error::none;
    }

    // Pinned on `cpu`. The closed cache when it has none.
    CpuCache& of(unsigned cpu) { return *caches_[cpu].load(std::memory_order_acquire); }
    u32 cpus() const { return cpus_; }

    // Up to n objects of class c, live from here on; answers how many.
    u32 grab(u32 c, u32 n, Offset* out) {
        PinGuard<P> pin;
        CpuCache& cache = of(pin.cpu());
        u32 got = 0;
        if (c < kClasses && cache.enter()) {
            Magazine& m = cache.magazine[c];
            const bool usable = m.installed();
            while (usable && got < n) {
                Entry e;
                if (m.pop(e))
                    got += make_live(*e.live, e.offset, out + got);
                else if (!refill(m, c))
                    break;
            }
            cache.leave();
            if (usable) return got;
        }
        return got + grab_from_slabs(c, n - got, out + got);
    }

    // Straight from the slabs. Pinned, or a reader.
    u32 grab_from_slabs(u32 c, u32 n, Offset* out) {
        Offset slots[kStepSlots];
        LiveBytes::Grantee nobody;
        u32 got = 0;
        while (got < n) {
            const u32 taken = slabs_.take(c, n - got < kStepSlots ? n - got : kStepSlots, nobody,
                                          slots);
            if (!taken) break;
            for (u32 i = 0; i < taken; ++i)
                got += make_live(LiveBytes::byte_of(*slab_of(slots[i]), slots[i]), slots[i],
                                 out + got);
        }
        return got;
    }

    // Takes the free of a slot that is no longer live, where the fast path could not.
    void put(u32 c, Offset offset, LiveByte* live) {
        if (c >= kClasses || !equip(c, Context::atomic)) return home(offset);
        PinGuard<P> pin;
        CpuCache& cache = of(pin.cpu());
        if (!cache.enter()) return home(offset);
        Magazine& m = cache.magazine[c];
        if (!m.push(offset, live)) {
            if (m.installed()) drain_half(m, c);
            if (!m.push(offset, live)) home(offset);
        }
        cache.leave();
    }

    // One slot goes home: from any context, NMI too. As a reader.
    void home(Offset offset) {
        typename Slabs::Homing homing(slabs_);
        SlabT& slab = *slab_of(offset);
        homing.add(slab, slab.slot_at(offset));
    }

    // Makes this CPU's magazine of class c, if it has none. False: refused.
    bool equip(u32 c, Context context) {
        const unsigned cpu = P::cpu();
        CpuCache* cache = caches_[cpu].load(std::memory_order_acquire);
        if (cache == &closed_cache && !(cache = open(cpu, context))) return false;
        if (cache->magazine[c].installed()) return true;
        void* array = P::meta_alloc(array_bytes(c), context);
        if (!array) return false;
        bool used = false;
        {
            PinGuard<P> pin;  // perhaps elsewhere by now: any CPU may need one
            CpuCache& here = of(pin.cpu());
            if (here.enter()) {
                used = !here.magazine[c].installed();
                if (used)
                    here.magazine[c].install(static_cast<Entry*>(array),
                                             capacity_of(kSizeClasses[c].slot_bytes));
                here.leave();
            }
        }
        if (used)
            meta_bytes_.fetch_add(array_bytes(c), std::memory_order_relaxed);
        else
            P::meta_free(array, array_bytes(c));
        return true;
    }

    // ---- what is cached goes home ----

    // This CPU's magazines.
    void flush_here() {
        PinGuard<P> pin;
        flush(of(pin.cpu()));
    }
    void flush_depots() {
        for (u32 c = 0; c < kClasses; ++c) {
            Entry entries[kMaxBatch];
            for (;;) {
                ReadGuard<P> reader;
                const u32 n = depots_[c].get(entries);
                if (!n) break;
                send_home(c, entries, n);
            }
            depots_[c].trim();
        }
    }
    // Every CPU's magazines; answers how many CPUs were out of reach. Context: task.
    unsigned flush_cpus() {
        if constexpr (ReachesCpus<P>) {
            return P::on_each_cpu(
                [](void* self, unsigned cpu) {
                    auto& caches = *static_cast<CpuCaches*>(self);
                    PinGuard<P> pin;
                    caches.flush(caches.of(cpu));
                },
                this);
        } else {
            flush_here();
            return cpus_ - 1;
        }
    }
    // As flush_cpus, when nobody else uses the heap any more: the end of it.
    void flush_quiescent() {
        for (u32 cpu = 0; cpu < cpus_; ++cpu) {
            ReadGuard<P> reader;
            flush(of(cpu));
        }
    }

    // ---- what there is ----

    // Slots of class c in magazines and in the depot; a hint for anyone.
    u64 cached(u32 c) const {
        if (c >= kClasses) return 0;
        u64 entries = depots_[c].count();
        for (u32 cpu = 0; cpu < cpus_; ++cpu)
            entries += caches_[cpu].load(std::memory_order_acquire)->magazine[c].count();
        return entries;
    }
    u64 meta_bytes() {
        u64 bytes = meta_bytes_.load(std::memory_order_relaxed);
        for (auto& depot : depots_) bytes += depot.meta_bytes();
        return bytes;
    }
    // fn(c, entry) for each entry of each magazine and depot. What a CPU that cannot be
    // reached has is left out. Context: task.
    template <typename Fn>
    void for_each(Fn&& fn) {
        struct Visit {
            CpuCaches& caches;
            Fn& fn;
        } visit{*this, fn};
        auto one = [](void* arg, unsigned cpu) {
            auto& v = *static_cast<Visit*>(arg);
            PinGuard<P> pin;
            CpuCache& cache = v.caches.of(cpu);
            if (!cache.enter()) return;
            for (u32 c = 0; c < kClasses; ++c)
                for (u32 i = 0; i < cache.magazine[c].count(); ++i)
                    v.fn(c, cache.magazine[c].entries()[i]);
            cache.leave();
        };
        if constexpr (ReachesCpus<P>)
            P::on_each_cpu(one, &visit);
        else
            one(&visit, P::cpu());
        for (u32 c = 0; c < kClasses; ++c)
            depots_[c].for_each([&](const Entry& entry) { fn(c, entry); });
    }

private:
    static u64 array_bytes(u32 c) {
        return capacity_of(kSizeClasses[c].slot_bytes) * sizeof(Entry);
    }

    SlabT* slab_of(Offset offset) {
        return PageDesc::slab<SlabT>(buddy_.find(PageNumber{offset / kPageBytes})->word());
    }

    // 1 when the slot is the caller's from here on; a duplicate is reported and dropped.
    u32 make_live(LiveByte& live, Offset offset, Offset* out) {
        if (!LiveBytes::set(live, offset)) {
            P::corruption(slabs_.os(), QUARRY_CORRUPT_DUPLICATE, offset, 0);
            return 0;
        }
        *out = offset;
        return 1;
    }

    CpuCache* open(unsigned cpu, Context context) {
        void* memory = P::meta_alloc(sizeof(CpuCache), context);
        if (!memory) return nullptr;
        auto* made = new (memory) CpuCache;
        CpuCache* seen = &closed_cache;
        if (caches_[cpu].compare_exchange_strong(seen, made, std::memory_order_acq_rel)) {
            meta_bytes_.fetch_add(sizeof(CpuCache), std::memory_order_relaxed);
            return made;
        }
        P::meta_free(memory, sizeof(CpuCache));
        return seen;
    }

    // Inside, the magazine is empty. False: neither depot nor slabs have any.
    bool refill(Magazine& m, u32 c) {
        const u64 begun = P::trace_timed() ? P::ns() : 0;
        u32 n = depots_[c].get(m.entries());
        if (!n) n = refill_from_slabs(m, c);
        if (!n) return false;
        m.set_size(n);
        P::trace_refill(slabs_.os(), kSizeClasses[c].slot_bytes, n, begun ? P::ns() - begun : 0);
        return true;
    }

    u32 refill_from_slabs(Magazine& m, u32 c) {
        Offset slots[kMaxBatch];
        LiveBytes::Grantee nobody;
        const u32 n = slabs_.take(c, batch_of(kSizeClasses[c].slot_bytes), nobody, slots);
        SlabT* slab = nullptr;
        for (u32 i = 0; i < n; ++i) {
            const Offset offset = slots[n - 1 - i];  // the first one is popped first
            if (!slab || offset - slab->base() >= kSizeClasses[c].slab_bytes())
                slab = slab_of(offset);
            m.entries()[i] = {offset, &LiveBytes::byte_of(*slab, offset)};
        }
        return n;
    }

    // Inside. The older half goes; the newer one moves down.
    void drain_half(Magazine& m, u32 c) {
        const u64 begun = P::trace_timed() ? P::ns() : 0;
        const u32 half = batch_of(kSizeClasses[c].slot_bytes);
        Entry* entries = m.entries();
        if (!depots_[c].put(entries, half)) send_home(c, entries, half);
        const u32 size = m.size();
        for (u32 i = half; i < size; ++i) entries[i - half] = entries[i];
        m.set_size(size - half);
        P::trace_drain(slabs_.os(), kSizeClasses[c].slot_bytes, half,
                       begun ? P::ns() - begun : 0);
    }

    void flush(CpuCache& cache) {
        if (!cache.enter()) return;
        for (u32 c = 0; c < kClasses; ++c) {
            Magazine& m = cache.magazine[c];
            const u32 n = m.count();
            if (!n) continue;
            send_home(c, m.entries(), n);
            m.set_size(0);
            P::trace_drain(slabs_.os(), kSizeClasses[c].slot_bytes, n, 0);
        }
        cache.leave();
    }

    // Sorted, so that the slots of one bitmap word go by one OR. Spoils `entries`.
    void send_home(u32 c, Entry* entries, u32 n) {
        for (u32 i = 1; i < n; ++i) {
            const Entry moving = entries[i];
            u32 at = i;
            for (; at && entries[at - 1].offset > moving.offset; --at) entries[at] = entries[at - 1];
            entries[at] = moving;
        }
        typename Slabs::Homing homing(slabs_);
        SlabT* slab = nullptr;
        for (u32 i = 0; i < n; ++i) {
            const Offset offset = entries[i].offset;
            if (!slab || offset - slab->base() >= kSizeClasses[c].slab_bytes())
                slab = slab_of(offset);
            homing.add(*slab, slab->slot_at(offset));
        }
    }

    Buddy<P>& buddy_;
    Slabs& slabs_;
    std::atomic<CpuCache*>* caches_ = nullptr;
    u32 cpus_ = 0;
    std::atomic<u64> meta_bytes_{0};
    Depot<P> depots_[kClasses];
};

}  // namespace quarry
