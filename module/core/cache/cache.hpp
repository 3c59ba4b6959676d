// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// CpuCaches: the magazines of all CPUs and the depots, between a heap and its slabs.
//
//   front           the fast path: a pop or a push on this CPU (front.hpp)
//   grab            up to n objects: magazine, depot, slabs, in this order
//   put             one object into a magazine that is full or has no array yet
//   flush_*         what is cached goes home
//
// A CPU's cache is 2 KiB, made by init with the front; the arrays are made when a CPU first uses a class,
// outside every lock, and refused without harm: then objects go straight to and from the
// slabs. That is also the way of those who interrupt somebody inside the same cache.
//
// Nobody is pinned for long, nor has one call much to do: arrays change hands whole, and between
// magazine and slabs 32 slots go at a time, 16 on the way home, by a caller that is a reader
// and not pinned.
//
// Context: any but NMI, unless a function says otherwise. Pins by itself.
// Costs: O(1).
#pragma once

#include "../slabs/slab_allocator.hpp"
#include "depot.hpp"
#include "front.hpp"

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
        if (!front_) return;
        for (u32 cpu = 0; cpu < cpus_; ++cpu) {
            for (u32 c = 0; c < kClasses; ++c) {
                Magazine m(of(cpu), c);
                if (!m.installed()) continue;
                P::meta_free(Batch::of(m.loaded()), depots_[c].array_bytes());
                P::meta_free(Batch::of(m.spare()), depots_[c].array_bytes());
            }
        }
        P::meta_free(front_, HeapFront<P>::bytes(cpus_));
    }
    CpuCaches(const CpuCaches&) = delete;
    CpuCaches& operator=(const CpuCaches&) = delete;

    // Context: task. Errors: no_memory, initialised.
    Error init() {
        if (front_) return Error::initialised;
        const u32 cpus = P::cpus();
        void* memory = P::meta_alloc(HeapFront<P>::bytes(cpus), Context::may_sleep);
        if (!memory) return Error::no_memory;
        front_ = new (memory) HeapFront<P>(*this);
        for (u32 i = 0; i < cpus; ++i) new (&of(i)) CpuCache;
        cpus_ = cpus;
        meta_bytes_.store(HeapFront<P>::bytes(cpus), std::memory_order_relaxed);
        return Error::none;
    }

    // Pinned on `cpu`.
    CpuCache& of(u64 cpu) const { return front_->cache(cpu); }
    HeapFront<P>& front() { return *front_; }
    // Pinned, or a reader.
    const Region* region_elsewhere(PageNumber page) const { return buddy_.region_elsewhere(page); }
    u32 cpus() const { return cpus_; }

    // Up to n objects of class c, live from here on; answers how many.
    u32 grab(u32 c, u32 n, Offset* out) {
        u32 got = 0;
        while (got < n) {
            const u32 some = n - got < kStepSlots ? n - got : kStepSlots;
            bool usable = false;
            u32 more = grab_here(c, some, out + got, usable);
            if (!more) more = grab_from_slabs(c, some, out + got, usable);
            if (!more) break;
            got += more;
        }
        return got;
    }

    // Takes the free of a slot that is no longer live, where the fast path could not. As a reader.
    void put(u32 c, Offset offset, LiveByte* live) {
        if (c >= kClasses || !equip(c, Context::atomic)) return home(offset);
        Put put = put_here(c, offset, live);
        if (put == Put::full && depots_[c].grow()) put = put_here(c, offset, live);
        if (put == Put::full) {
            Entry surplus[kStepHome];
            if (const u32 n = cut(c, surplus)) send_home(c, surplus, n);
            put = put_here(c, offset, live);
        }
        if (put != Put::done) home(offset);
    }

    // The fast path's other halves, inside; they leave. No lock.
    //
    // The loaded array's newest entry serves not. When it is empty the spare one may; a duplicate
    // stays where it is: the slow half reports and drops it.
    Offset pop_spare(CpuCache& cache, u32 c) {
        Offset offset = kNoObject;
        Magazine m(cache, c);
        if (m.loaded_size() == 0 && m.spare_is_full()) {
            m.swap(depots_[c].batch());
            Entry e;
            if (m.pop(e)) {
                if (LiveBytes::set(*e.live, e.offset))
                    offset = e.offset;
                else
                    m.push(e.offset, e.live);
            }
        }
        cache.leave();
        return offset;
    }

    // The loaded array has no room for a live slot's free. The spare one may; false: nothing has
    // happened.
    bool push_spare(CpuCache& cache, u32 c, Offset offset, LiveByte* live) {
        Magazine m(cache, c);
        const bool room = m.installed() && !m.spare_is_full();
        if (room) {
            m.swap(depots_[c].batch());
            LiveBytes::clear(*live, offset);
            m.push(offset, live);
        }
        cache.leave();
        return room;
    }

    // One slot goes home: from any context, NMI too. As a reader.
    void home(Offset offset) {
        typename Slabs::Homing homing(slabs_);
        SlabT& slab = *slab_of(offset);
        homing.add(slab, slab.slot_at(offset));
    }

    // Makes this CPU's magazine of class c, if it has none. False: refused.
    bool equip(u32 c, Context context) {
        if (Magazine(of(P::cpu()), c).installed()) return true;
        const u64 bytes = depots_[c].array_bytes();
        void* loaded = P::meta_alloc(bytes, context);
        void* spare = loaded ? P::meta_alloc(bytes, context) : nullptr;
        bool used = false;
        if (spare) {
            PinGuard<P> pin;  // perhaps elsewhere by now: any CPU may need one
            CpuCache& here = of(pin.cpu());
            if (here.enter()) {
                Magazine m(here, c);
                used = !m.installed();
                if (used)
                    m.install(loaded, spare, depots_[c].batch());
                here.leave();
            }
        }
        if (used) {
            meta_bytes_.fetch_add(2 * bytes, std::memory_order_relaxed);
            return true;
        }
        if (loaded) P::meta_free(loaded, bytes);
        if (spare) P::meta_free(spare, bytes);
        return spare != nullptr;
    }

    // ---- what is cached goes home ----

    // This CPU's magazines.
    void flush_here() {
        Left left;
        {
            PinGuard<P> pin;
            leave_cache(of(pin.cpu()), left);
        }
        send_home(left);
    }
    void flush_depots() {
        for (u32 c = 0; c < kClasses; ++c) {
            for (;;) {
                ReadGuard<P> reader;
                Entry* full = depots_[c].take_out();
                if (!full) break;
                send_home(c, full, depots_[c].batch());
                depots_[c].trade_in(full);
            }
            depots_[c].trim();
        }
    }
    // Every CPU's magazines; answers how many CPUs were out of reach. Context: task.
    unsigned flush_cpus() {
        if constexpr (ReachesCpus<P>) {
            struct Visit {
                CpuCaches& caches;
                Left left;
            } visit{*this, {}};
            const unsigned missed = P::on_each_cpu(
                [](void* arg, unsigned cpu) {
                    auto& v = *static_cast<Visit*>(arg);
                    PinGuard<P> pin;
                    v.caches.leave_cache(v.caches.of(cpu), v.left);
                },
                &visit);
            send_home(visit.left);
            return missed;
        } else {
            flush_here();
            return cpus_ - 1;
        }
    }
    // As flush_cpus, when nobody else uses the heap any more: the end of it.
    void flush_quiescent() {
        Left left;
        for (u32 cpu = 0; cpu < cpus_; ++cpu) leave_cache(of(cpu), left);
        send_home(left);
    }

    // ---- what there is ----

    // Slots of class c in magazines and in the depot; a hint for anyone.
    u64 cached(u32 c) const {
        if (c >= kClasses) return 0;
        u64 entries = depots_[c].count();
        for (u32 cpu = 0; cpu < cpus_; ++cpu)
            entries += Magazine(of(cpu), c).count(depots_[c].batch());
        return entries;
    }
    u64 meta_bytes() {
        u64 bytes = meta_bytes_.load(std::memory_order_relaxed);
        for (auto& depot : depots_) bytes += depot.meta_bytes();
        return bytes;
    }
    // fn(c, entry) for each entry of each magazine and depot, one at a time, kAuditStep under one hold.
    // What a CPU that cannot be reached has is left out; answers how many there were.
    // Context: task, one caller at a time.
    template <typename Fn>
    unsigned for_each(Fn&& fn) {
        for (u32 cpu = 0; cpu < cpus_; ++cpu) of(cpu).audit = {};
        struct Visit {
            CpuCaches& caches;
            Fn& fn;
            typename P::Lock lock{QUARRY_LOCK_DEPOT};  // the CPUs take turns
        } visit{*this, fn};
        const auto step = [](void* arg, unsigned cpu) -> int {
            auto& v = *static_cast<Visit*>(arg);
            PinGuard<P> pin;
            CpuCache& cache = v.caches.of(cpu);
            if (!cache.enter()) return 1;
            Guard guard(v.lock);
            const bool more = v.caches.visit_some(cache, v.fn);
            cache.leave();
            return more;
        };
        unsigned missed = 0;
        if constexpr (requires { P::on_each_cpu_steps(step, &visit); })
            missed = P::on_each_cpu_steps(step, &visit);
        else
            while (step(&visit, P::cpu())) {}
        for (u32 c = 0; c < kClasses; ++c)
            depots_[c].for_each([&](const Entry& entry) { fn(c, entry); });
        return missed;
    }

private:
    // Slots that one call sends home.
    static constexpr u32 kStepHome = 16;

    SlabT* slab_of(Offset offset) {
        return PageDesc::slab<SlabT>(buddy_.find(PageNumber{offset / kPageBytes})->word());
    }

    // The next kAuditStep entries of this CPU's magazines. Inside. False: that was all.
    template <typename Fn>
    bool visit_some(CpuCache& cache, Fn& fn) {
        for (u32 left = kAuditStep; cache.audit.c < kClasses;) {
            auto& [c, at] = cache.audit;
            Magazine m(cache, c);
            const u32 loaded = m.loaded_size();
            const u32 all = m.count(depots_[c].batch());
            for (; left && at < all; ++at, --left)
                fn(c, at < loaded ? m.loaded()[at] : m.spare()[at - loaded]);
            if (!left) return true;
            cache.audit = {c + 1, 0};
        }
        return false;
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

    // Up to kStepSlots of what this CPU has, or the depot. `usable`: there is a magazine.
    u32 grab_here(u32 c, u32 n, Offset* out, bool& usable) {
        if (c >= kClasses) return 0;
        PinGuard<P> pin;
        CpuCache& cache = of(pin.cpu());
        if (!cache.enter()) return 0;
        Magazine m(cache, c);
        usable = m.installed();
        u32 got = 0;
        while (usable && got < n) {
            Entry e;
            if (m.pop(e))
                got += make_live(*e.live, e.offset, out + got);
            else if (!refill(m, c))
                break;
        }
        cache.leave();
        return got;
    }

    // Up to kStepSlots straight from the slabs; what comes beyond, should there be a magazine, is
    // for that.
    u32 grab_from_slabs(u32 c, u32 n, Offset* out, bool usable) {
        ReadGuard<P> reader;
        Offset slots[kStepSlots];
        LiveBytes::Grantee nobody;
        const u64 begun = P::trace_timed() ? P::ns() : 0;
        const u32 spare = usable ? depots_[c].batch() : 0;
        const u32 wanted = spare < n ? n : spare < kStepSlots ? spare : kStepSlots;
        // Where this CPU's are, or where nobody's are: two CPUs' live bytes shall share no line.
        auto* const last = c < kClasses ? &of(P::cpu()).last[c] : nullptr;
        u32 got = 0;
        while (!got) {
            const Offset near = last ? last->load(std::memory_order_relaxed) : kAnywhere;
            const u32 taken = slabs_.take(c, wanted, nobody, slots, false, near);
            if (!taken) break;
            if (last) last->store(slots[taken - 1], std::memory_order_relaxed);
            u32 i = 0;
            for (; i < taken && got < n; ++i)
                got += make_live(LiveBytes::byte_of(*slab_of(slots[i]), slots[i]), slots[i],
                                 out + got);
            if (i < taken) stock_with(c, slots + i, taken - i, begun);
        }
        return got;
    }

    // Inside, the loaded array is empty. False: so are the spare one and the depot.
    bool refill(Magazine m, u32 c) {
        const u32 batch = depots_[c].batch();
        if (m.spare_is_full()) {
            m.swap(batch);
            return true;
        }
        const u64 begun = P::trace_timed() ? P::ns() : 0;
        Entry* full = depots_[c].get(m.loaded());
        if (!full) return false;
        m.load(full, batch, batch);
        P::trace_refill(slabs_.os(), kSizeClasses[c].slot_bytes, batch, begun ? P::ns() - begun : 0);
        return true;
    }

    // Slots that have left their slabs, up to kStepSlots of them, into this CPU's magazine, so that
    // the first is popped first. As a reader.
    void stock_with(u32 c, const Offset* slots, u32 n, u64 begun) {
        Entry entries[kStepSlots];
        SlabT* slab = nullptr;
        for (u32 i = 0; i < n; ++i) {
            if (!slab || slots[i] - slab->base() >= kSizeClasses[c].slab_bytes())
                slab = slab_of(slots[i]);
            entries[i] = {slots[i], &LiveBytes::byte_of(*slab, slots[i])};
            LiveBytes::prepare(*entries[i].live, slots[i]);
        }
        u32 left = n;
        {
            PinGuard<P> pin;
            CpuCache& cache = of(pin.cpu());
            if (cache.enter()) {
                Magazine m(cache, c);
                while (left && m.push(entries[left - 1].offset, entries[left - 1].live)) --left;
                cache.leave();
            }
        }
        if (left) send_home(c, entries, left);
        if (n != left)
            P::trace_refill(slabs_.os(), kSizeClasses[c].slot_bytes, n - left,
                            begun ? P::ns() - begun : 0);
    }

    enum class Put : u8 { done, full, no_magazine };

    // Into this CPU's magazine; a full spare array goes to the depot for it.
    Put put_here(u32 c, Offset offset, LiveByte* live) {
        PinGuard<P> pin;
        CpuCache& cache = of(pin.cpu());
        if (!cache.enter()) return Put::no_magazine;
        Magazine m(cache, c);
        Put put = Put::no_magazine;
        if (m.installed())
            put = m.push(offset, live) || (make_room(m, c) && m.push(offset, live)) ? Put::done
                                                                                   : Put::full;
        cache.leave();
        return put;
    }

    // Inside, the loaded array is full: the spare one, the older half, goes if it is, too.
    // False: the depot does not take it.
    bool make_room(Magazine m, u32 c) {
        const u32 batch = depots_[c].batch();
        if (m.spare_is_full()) {
            const u64 begun = P::trace_timed() ? P::ns() : 0;
            Entry* empty = depots_[c].put(m.spare());
            if (!empty) return false;
            m.set_spare(empty, false);
            P::trace_drain(slabs_.os(), kSizeClasses[c].slot_bytes, batch,
                           begun ? P::ns() - begun : 0);
        }
        m.swap(batch);
        return true;
    }

    // Up to kStepHome entries of this CPU's loaded array, the newest; answers how many.
    u32 cut(u32 c, Entry* out) {
        PinGuard<P> pin;
        CpuCache& cache = of(pin.cpu());
        if (!cache.enter()) return 0;
        Magazine m(cache, c);
        u32 n = 0;
        while (n < kStepHome && m.pop(out[n])) ++n;
        cache.leave();
        if (n) P::trace_drain(slabs_.os(), kSizeClasses[c].slot_bytes, n, 0);
        return n;
    }

    // Arrays that have left their magazines.
    using Left = std::atomic<Batch*>;

    // Pinned. The magazines of a CPU that hold something leave with it.
    void leave_cache(CpuCache& cache, Left& left) {
        if (!cache.enter()) return;
        Batch* first = nullptr;
        Batch** end = &first;
        for (u32 c = 0; c < kClasses; ++c) {
            Magazine m(cache, c);
            const u32 batch = depots_[c].batch();
            if (!m.count(batch)) continue;
            *end = m.uninstall(batch);
            end = &(*end)->next->next;
        }
        cache.leave();
        if (!first) return;
        *end = left.load(std::memory_order_relaxed);
        while (!left.compare_exchange_weak(*end, first, std::memory_order_release)) {}
    }

    // Their slots go home, and they end.
    void send_home(Left& left) {
        for (Batch* next = left.exchange(nullptr, std::memory_order_acquire); Batch* array = next;) {
            next = array->next;
            const auto [c, n] = array->left;
            const u64 bytes = depots_[c].array_bytes();
            if (n) {
                ReadGuard<P> reader;
                P::trace_drain(slabs_.os(), kSizeClasses[c].slot_bytes, n, 0);
                send_home(c, array->entries(), n);
            }
            P::meta_free(array, bytes);
            meta_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
        }
    }

    // By offset, in place. (Shell 1959, with Ciura's gaps.)
    static void sort(Entry* entries, u32 n) {
        for (const u32 gap : {132u, 57u, 23u, 10u, 4u, 1u}) {
            for (u32 i = gap; i < n; ++i) {
                const Entry moving = entries[i];
                u32 at = i;
                for (; at >= gap && entries[at - gap].offset > moving.offset; at -= gap)
                    entries[at] = entries[at - gap];
                entries[at] = moving;
            }
        }
    }

    // Sorted, so that the slots of one bitmap word go by one OR. Spoils `entries`. As a reader.
    void send_home(u32 c, Entry* entries, u32 n) {
        sort(entries, n);
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
    HeapFront<P>* front_ = nullptr;
    u32 cpus_ = 0;
    std::atomic<u64> meta_bytes_{0};
    Depot<P> depots_[kClasses];
};

}  // namespace quarry
