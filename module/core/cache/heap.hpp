// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Heap: any size and alignment for drivers and hosts. Up to 2048 bytes from slabs through
// per-CPU magazines, up to 8 pages from the page cache, beyond that runs of pages.
//
//   Heap<P> heap(max_pages, os);
//   if (!ok(heap.init()) || !heap.add_region(PageNumber{0}, pages, Zone::normal)) return;
//   if (const auto object = heap.alloc(100)) (void)heap.free(*object);
//   if (const auto zeroed = heap.alloc_zeroed(1000, 64)) {
//       if (heap.resize_in_place(*zeroed, 5000) == Error::cannot_grow) {
//           ...  // the caller copies
//       }
//       (void)heap.free_sized(*zeroed, 1000);
//   }
//
// Fast path (front.hpp): pin, a local trylock flag, an array pop or push, the live byte; no
// lock, no locked instruction, no slab header. A free finds class and live byte by the page's
// word.
//
// Before pool_full, what is free anywhere is tried (law 7). A caller that may sleep: own
// magazine, depot, slots on their way home, idle slabs, cached pages, all depots, all
// CPUs' magazines, low memory's slots. An atomic caller: all of it but the other CPUs'
// magazines. CPUs out of reach are counted.
//
// Context: alloc by its argument, frees any (NMI: try_alloc, try_free and free_remote alone),
// all others task. Costs: O(1); O(orders) for runs; O(log regions) with several regions;
// reclaiming is bounded by what is cached. The audit is in heap_audit.hpp.
#pragma once

#include "../pages/page_cache.hpp"
#include "cache.hpp"

namespace quarry {

template <Platform P>
class Heap {
public:
    using Slabs = SlabAllocator<P, LiveBytes>;
    using SlabT = Slab<LiveBytes>;

    // `max_pages`: the offset space, 1..2^40. `os` goes to the hooks.
    Heap(u64 max_pages, void* os)
        : os_(os),
          buddy_(max_pages, true),
          pages_(buddy_),
          reserve_(reserve_block()),
          slabs_(buddy_, live_bytes_, kHeapClassTable.data(), kHeapClasses, os),
          caches_(buddy_, slabs_) {
        slabs_.use_reserve(reserve_);
    }
    // Quiescent; live objects are forgotten.
    ~Heap() {
        if (ready_) caches_.flush_quiescent(), caches_.flush_depots();
    }
    Heap(const Heap&) = delete;
    Heap& operator=(const Heap&) = delete;

    // Context: task. Errors: invalid, no_memory (another try goes on from there),
    // initialised. Before it, every call but the fast halves, stat and usable_size answers
    // uninitialised.
    Error init() {
        if (ready_) return Error::initialised;
        if (buddy_.max_pages() == 0 || buddy_.max_pages() > kMaxHeapPages) return Error::invalid;
        auto failed = [](Error e) { return !ok(e) && e != Error::initialised; };
        if (const Error e = reserve_.init(); failed(e)) return e;
        if (const Error e = slabs_.init(); failed(e)) return e;
        if (const Error e = pages_.init(); failed(e)) return e;
        if (const Error e = caches_.init(); failed(e)) return e;
        front().set_owner(this);
        ready_ = true;
        return Error::none;
    }

    // Metadata for regions of so many pages in all: page states and the reserve. Slabs take
    // theirs as they come, magazines as CPUs use them.
    static u64 required_meta_bytes(u64 pages) {
        return sizeof(Heap) + Buddy<P>::required_meta_bytes(pages, true) +
               MetaReserve<P>::required_meta_bytes(reserve_block());
    }

    // ---- regions; serialised by the caller, context: task ----

    // Errors: those of Buddy::add_region.
    Result<u64> add_region(PageNumber first, u64 pages, Zone zone, void* cookie = nullptr) {
        if (!ready_) return Error::uninitialised;
        const auto added = buddy_.add_region(first, pages, zone, cookie);
        log<P>(os_, added ? "region added: page" : "region refused: page", value(first));
        if (added) choose_home(kNoPage);
        reserve_.refill();
        return added;
    }
    // Errors: not_found, busy (something of it is allocated; nothing has changed).
    Error remove_region(PageNumber first) {
        if (!ready_) return Error::uninitialised;
        drain();
        return remove_idle_region(first);
    }
    // The same with what caches keep left where it is. Takes no memory, waits for no CPU.
    Error remove_idle_region(PageNumber first) {
        if (!ready_) return Error::uninitialised;
        log<P>(os_, "region to be removed: page", value(first));
        if (const Error e = buddy_.isolate_region(first); !ok(e)) return e;
        choose_home(value(first));  // readers that still use it keep it from being freed
        return buddy_.remove_region(first);
    }

    // ---- objects ----

    // `align` a power of two; 8 at least is given. Errors: invalid (no size, no power of
    // two), too_large (above 2^20 pages), no_memory (metadata), pool_full, uninitialised.
    Result<Offset> alloc(u64 size, u64 align = kGrain, Context context = Context::may_sleep,
                         Zone zone = Zone::normal) {
        if (align == kGrain && zone == Zone::normal && ready_) [[likely]] {
            const unsigned cpu = P::pin();
            const Offset offset = try_alloc(cpu, size);
            P::unpin();
            if (offset != kNoObject) [[likely]]
                return offset;
        }
        return alloc_slow(size, align, context, zone);
    }

    // The fast half of alloc, for a caller that is pinned on `cpu`: from this CPU's
    // magazine, or kNoObject. Takes no lock; NMI too.
    Offset try_alloc(u64 cpu, u64 size) { return front().try_alloc(cpu, size); }

    // The object's usable bytes are zeroed, through the platform.
    Result<Offset> alloc_zeroed(u64 size, u64 align = kGrain,
                                Context context = Context::may_sleep, Zone zone = Zone::normal) {
        const auto offset = alloc(size, align, context, zone);
        if (offset) P::zero(os_, *offset, usable_size(*offset));
        return offset;
    }

    struct Granted {
        u32 done = 0;
        Error why = Error::none;
    };
    // n objects of one size, `base` added to each offset. A partial result says why no more.
    Granted alloc_bulk(u64 size, u64 align, u32 n, Offset* out,
                       Context context = Context::may_sleep, Zone zone = Zone::normal,
                       u64 base = 0) {
        Granted g;
        if (!ready_) return {0, Error::uninitialised};
        if (size == 0 || !is_power_of_two(align)) return {0, Error::invalid};
        if (align == kGrain && zone == Zone::normal) {
            PinGuard<P> pin;
            g.done = front().try_alloc_some(pin.cpu(), size, base, n, out);
        }
        if (g.done == n) return g;
        const u32 before = g.done;
        if (size <= kMaxSlot && align <= kMaxSlot)
            g.why = take(class_in(class_of(size, align), zone), n, out, g.done, context);
        while (size > kMaxSlot || align > kMaxSlot) {
            const auto one = alloc(size, align, context, zone);
            g.why = one.error();
            if (!one) break;
            out[g.done++] = *one;
            if (g.done == n) break;
        }
        for (u32 i = before; i < g.done; ++i) out[i] += base;
        return g;
    }

    // Errors: misaligned, out_of_range, no_region, not_object, already_free.
    Error free(Offset offset) {
        if (!ready_) [[unlikely]]
            return Error::uninitialised;
        const unsigned cpu = P::pin();
        const bool done = try_free(cpu, offset);
        P::unpin();
        return done ? Error::none : free_slow(offset);
    }
    // The fast half of free, for a caller that is pinned on `cpu`: a slot of a normal
    // class; else nothing happens, and free says why. NMI too.
    bool try_free(u64 cpu, Offset offset) {
        return front().try_free(cpu, offset, front().home()) != 0;
    }

    // Errors: wrong_size when no allocation of `size` bytes can have given this object;
    // those of free.
    Error free_sized(Offset offset, u64 size) {
        if (!ready_) [[unlikely]]
            return Error::uninitialised;
        const unsigned cpu = P::pin();
        const bool done =
            front().template try_free<true>(cpu, offset, front().home(), size) != 0;
        P::unpin();
        return done ? Error::none : free_sized_slow(offset, size);
    }

    // In order, `base` taken off each; stops at the first that is refused.
    Granted free_bulk(const u64* objects, u32 n, u64 base = 0) {
        Granted g;
        if (!ready_) return {0, Error::uninitialised};
        for (;; ++g.done) {
            {
                PinGuard<P> pin;
                g.done += front().try_free_some(pin.cpu(), front().home(), base, n - g.done,
                                                objects + g.done);
            }
            if (g.done == n) return g;
            // Not pinned: what the fast half leaves may take its time.
            g.why = free(objects[g.done] - base);
            if (!ok(g.why)) return g;
        }
    }

    // A slot goes straight home; for contexts that may take no lock, NMI too. Errors: those
    // of free; not_supported for pages.
    Error free_remote(Offset offset) {
        PinGuard<P> pin;
        Place place;
        if (const Error e = locate(offset, place); !ok(e)) return e;
        if (!place.slab) return Error::not_supported;
        LiveBytes::clear(*place.live, offset);
        caches_.home(offset);
        return Error::none;
    }

    // Bytes of a live object that its owner may use; 0 when it is none. Context: any.
    u64 usable_size(Offset offset) {
        PinGuard<P> pin;
        Place place;
        if (!ok(locate(offset, place))) return 0;
        return place.slab ? place.slab->size_class().slot_bytes : place.pages * kPageBytes;
    }

    // The object stays where it is: as long as `size` fits. Pages that a smaller run no
    // longer needs are given back. Errors: cannot_grow (the caller copies), invalid, those
    // of free.
    Error resize_in_place(Offset offset, u64 size) {
        Place place;
        {
            PinGuard<P> pin;
            if (const Error e = locate(offset, place); !ok(e)) return e;
            if (size == 0) return Error::invalid;
            if (place.slab)
                return size <= place.slab->size_class().slot_bytes ? Error::none
                                                                   : Error::cannot_grow;
        }
        const u64 pages = size / kPageBytes + (size % kPageBytes != 0);
        if (pages > place.pages) return Error::cannot_grow;
        if (pages == place.pages) return Error::none;
        return buddy_.free(PageNumber{offset / kPageBytes} + pages, place.pages - pages);
    }

    // ---- pages ----

    // A block of 2^order pages, aligned to its size. Errors: as alloc.
    Result<Offset> alloc_pages(Order order, Zone zone = Zone::normal,
                               Context context = Context::may_sleep) {
        return with_reclaim(context, [&] { return pages_.alloc(order, zone); });
    }
    // Exactly n contiguous pages, the first at a multiple of 2^align. Errors: as alloc.
    Result<Offset> alloc_pages_exact(u64 n, Zone zone = Zone::normal,
                                     Context context = Context::may_sleep,
                                     Order align = Order{0}) {
        return with_reclaim(context, [&] { return pages_.alloc_exact(n, zone, align); });
    }
    // Errors: misaligned, and those of Buddy::free (wrong_size for another count).
    Error free_pages(Offset offset, Order order) {
        if (offset % kPageBytes) return Error::misaligned;
        return pages_.free(PageNumber{offset / kPageBytes}, order);
    }
    Error free_pages_exact(Offset offset, u64 n) {
        if (offset % kPageBytes) return Error::misaligned;
        return pages_.free(PageNumber{offset / kPageBytes}, n);
    }

    // ---- upkeep; context: task ----

    // Everything cached goes home, every empty slab to the buddy.
    void drain() {
        if (!ready_) return;
        pages_.drain();
        note_unreachable(caches_.flush_cpus());
        caches_.flush_depots();
        ReadGuard<P> reader;
        slabs_.reclaim_all();
    }

    struct Stat {
        u64 bytes, free_bytes, used_bytes, objects, meta_bytes, regions, slabs, unreachable;
    };
    // Sums of hints: exact when nothing else runs.
    Stat stat() {
        Stat s{};
        if (!ready_) return s;
        ReadGuard<P> reader;
        s.bytes = buddy_.total_pages() * kPageBytes;
        s.regions = buddy_.region_count();
        u64 slab_bytes = 0;
        for (u32 c = 0; c < kHeapClasses; ++c) {
            const auto counts = slabs_.count(c);
            const u64 cached = caches_.cached(c);
            const u64 live = counts.taken > cached ? counts.taken - cached : 0;
            s.slabs += counts.slabs;
            s.objects += live;
            s.used_bytes += live * kHeapClassTable[c].slot_bytes;
            slab_bytes += counts.slabs * kHeapClassTable[c].slab_bytes();
        }
        const u64 idle = (buddy_.free_pages() + pages_.count()) * kPageBytes + slab_bytes;
        const u64 run_bytes = s.bytes > idle ? s.bytes - idle : 0;
        s.used_bytes += run_bytes;
        s.free_bytes = s.bytes - s.used_bytes;
        s.meta_bytes = sizeof(Heap) + buddy_.meta_bytes() + pages_.meta_bytes() +
                       slabs_.meta_bytes() + reserve_.meta_bytes() + caches_.meta_bytes();
        s.unreachable = unreachable_.load(std::memory_order_relaxed);
        return s;
    }

    void* os() const { return os_; }
    Buddy<P>& buddy() { return buddy_; }
    PageCache<P>& pages() { return pages_; }
    Slabs& slabs() { return slabs_; }
    CpuCaches<P>& caches() { return caches_; }
    // After init.
    HeapFront<P>& front() { return caches_.front(); }

private:
    static constexpr u64 kNoPage = ~u64{0};
    static constexpr u64 kMaxHeapPages = kMaxWordOffset / kPageBytes;
    static constexpr u64 kPageShift = 12;

    static u64 reserve_block() {
        return round_up(Slabs::largest_meta_bytes(kHeapClassTable.data(), kHeapClasses), 64);
    }
    static u32 class_in(u32 c, Zone zone) { return zone == Zone::normal ? c : c + kClasses; }

    // What an offset names.
    struct Place {
        SlabT* slab = nullptr;  // null: a run
        LiveByte* live = nullptr;
        u64 pages = 0;
    };

    // ---- slow path: objects ----

    [[gnu::noinline]] Result<Offset> alloc_slow(u64 size, u64 align, Context context, Zone zone) {
        if (!ready_) return Error::uninitialised;
        if (size == 0 || !is_power_of_two(align) || static_cast<u32>(zone) >= kZones)
            return Error::invalid;
        if (size <= kMaxSlot && align <= kMaxSlot) {
            Offset offset = 0;
            u32 done = 0;
            const Error e = take(class_in(class_of(size, align), zone), 1, &offset, done, context);
            if (!ok(e)) return e;
            return offset;
        }
        if (size > pages_of(kMaxOrder) * kPageBytes || align > pages_of(kMaxOrder) * kPageBytes)
            return Error::too_large;
        Order order{0};
        if (align > kPageBytes) order = Order{static_cast<u8>(lowest_bit(align) - kPageShift)};
        return alloc_pages_exact((size + kPageBytes - 1) / kPageBytes, zone, context, order);
    }

    // n objects of class c; `done` says how many.
    Error take(u32 c, u32 n, Offset* out, u32& done, Context context) {
        if (c < kClasses) (void)caches_.equip(c, context);
        for (u32 stage = 0; done < n;) {
            const u32 got = caches_.grab(c, n - done, out + done);
            done += got;
            if (done == n) break;
            const Zone zone = c < kClasses ? Zone::normal : Zone::lowmem;
            const Error e = slabs_.add_slab(c, zone, context);
            if (ok(e)) {
                if (context == Context::may_sleep) reserve_.refill();
                continue;
            }
            if (got) continue;  // others free meanwhile: begin with the cheap ones again
            if (context == Context::may_sleep)
                log<P>(os_, "memory is short, reclaiming: slots of bytes",
                       kHeapClassTable[c].slot_bytes);
            if (reclaim(stage++, context)) continue;
            if (c < kClasses) done += caches_.grab(c + kClasses, n - done, out + done);
            return done == n ? Error::none : e;
        }
        return Error::none;
    }

    // Makes room, each stage more of it; false when there is nothing more to try.
    bool reclaim(u32 stage, Context context) {
        switch (stage) {
        case 0: {
            pages_.drain();
            ReadGuard<P> reader;
            slabs_.reclaim_all();
            return true;
        }
        case 1:
            caches_.flush_here();
            break;
        case 2:
            if (context == Context::atomic) return false;
            note_unreachable(caches_.flush_cpus());
            break;
        default: return false;
        }
        caches_.flush_depots();
        ReadGuard<P> reader;
        slabs_.reclaim_all();
        return true;
    }

    template <typename Try>
    Result<Offset> with_reclaim(Context context, Try&& attempt) {
        for (u32 stage = 0;;) {
            const Result<PageNumber> page = attempt();
            if (page) return value(*page) << kPageShift;
            if (page.error() != Error::pool_full || !reclaim(stage++, context))
                return page.error();
        }
    }

    // As a reader. What a live object's offset names, or why it names none.
    Error locate(Offset offset, Place& place) {
        if (offset % kGrain) return Error::misaligned;
        const PageNumber page{offset >> kPageShift};
        if (value(page) >= buddy_.max_pages()) return Error::out_of_range;
        const PageDesc* desc = buddy_.find(page);
        if (!desc) return Error::no_region;
        const u64 word = desc->word();
        if (PageDesc::state(word) == PageState::slab) {
            place.slab = PageDesc::slab<SlabT>(word);
            if (place.slab->slot_at(offset) == place.slab->slots()) return Error::not_object;
            place.live = &LiveBytes::byte_of(*place.slab, offset);
            return LiveBytes::is_live(*place.live) ? Error::none : Error::already_free;
        }
        const auto pages = buddy_.run_pages(page);
        if (!pages) return pages.error();
        if (offset % kPageBytes) return Error::not_object;
        place.pages = *pages;
        return Error::none;
    }

    [[gnu::noinline]] Error free_slow(Offset offset) {
        Place place;
        ReadGuard<P> reader;
        if (const Error e = locate(offset, place); !ok(e)) return e;
        return free_place(offset, place);
    }
    [[gnu::noinline]] Error free_sized_slow(Offset offset, u64 size) {
        Place place;
        ReadGuard<P> reader;
        if (const Error e = locate(offset, place); !ok(e)) return e;
        const bool fits = place.slab ? may_be_in(place.slab->class_index() % kClasses, size)
                                     : size / kPageBytes + (size % kPageBytes != 0) == place.pages;
        return fits ? free_place(offset, place) : Error::wrong_size;
    }
    Error free_place(Offset offset, Place& place) {
        if (!place.slab) return pages_.free_run(PageNumber{offset >> kPageShift});
        if (!LiveBytes::release(*place.live, offset)) return Error::already_free;
        caches_.put(place.slab->class_index(), offset, place.live);
        return Error::none;
    }
    // Is there an alignment by which `size` bytes come from class c?
    static bool may_be_in(u32 c, u64 size) {
        if (size == 0 || size > kMaxSlot) return false;
        for (u64 align = kGrain; align <= kMaxSlot; align *= 2)
            if (class_of(size, align) == c) return true;
        return false;
    }

    // The largest region serves the fast path of free; `but` is on its way out.
    void choose_home(u64 but) {
        u64 first = kNoPage;
        u64 most = 0;
        buddy_.for_each_region([&](const auto& region) {
            if (region.first == but || region.pages <= most) return;
            first = region.first;
            most = region.pages;
        });
        ReadGuard<P> reader;
        const Region* region = first == kNoPage ? nullptr : buddy_.region_of(PageNumber{first});
        front().set_home(region ? region->words : nullptr);
    }
    void note_unreachable(unsigned cpus) {
        if (cpus) unreachable_.fetch_add(cpus, std::memory_order_relaxed);
    }

    void* os_;
    bool ready_ = false;
    Buddy<P> buddy_;
    PageCache<P> pages_;
    LiveBytes live_bytes_;
    MetaReserve<P> reserve_;
    Slabs slabs_;
    CpuCaches<P> caches_;
    std::atomic<u64> unreachable_{0};
};

}  // namespace quarry
